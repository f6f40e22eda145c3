-- Return every known key with its group.
SELECT name, limit_group FROM keys
