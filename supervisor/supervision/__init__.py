"""Parts of the supervisor: shutdown, orders, the watch over the flusher, maintenance."""
