"""The database file: connections, the write lock, the write-ahead log, migrations, backups and salvage."""
