"""The supervisor, workers, fork server, flusher and command line. Nothing here is a public API."""
