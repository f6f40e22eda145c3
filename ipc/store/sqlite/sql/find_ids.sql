-- Return the first task IDs in a range.
SELECT id FROM tasks WHERE id >= :from AND id < :to LIMIT 3
