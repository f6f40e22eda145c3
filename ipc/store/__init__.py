"""The store of tasks and events."""
