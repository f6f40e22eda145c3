"""Malformed messages and many clients at the socket."""
