"""The processes: supervisor, workers, fork server, flusher, command line. An application: nothing is exported."""
