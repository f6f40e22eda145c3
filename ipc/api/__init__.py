"""The Python API: managers, callbacks, event streams, and the control of the supervisor."""
