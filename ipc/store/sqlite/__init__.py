"""SQLite as the store: one file, one writer at a time, a write-ahead log."""
