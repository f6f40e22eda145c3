"""What the commands that wait in the foreground share: `run`, `wait` and `down`."""
