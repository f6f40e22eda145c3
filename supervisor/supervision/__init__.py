"""Parts of the supervisor: orders, shutdown, maintenance, the care for the flusher and for unresponsive workers."""
