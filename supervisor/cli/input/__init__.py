"""Values that users type: durations, times, numbers and prompts, and the errors about them."""
