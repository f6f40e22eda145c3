"""Malformed messages, and many clients."""
