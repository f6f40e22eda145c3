"""Parts of the supervisor: orders, shutdown, maintenance, and watches of the flusher and of unresponsive workers."""
