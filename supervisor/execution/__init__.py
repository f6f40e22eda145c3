"""Run tasks: start their processes, watch them, determine their outcome and end their process trees."""
