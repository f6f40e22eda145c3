"""Output that fits a terminal: a pager, tables of tasks, and a picture that is redrawn."""
