"""Copy and follow the output of tasks, as bytes or as lines for people."""
