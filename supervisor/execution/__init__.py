"""Running one task: what is started, how it went, and that nobody is left."""
