-- Return the task that was launched last.
SELECT id FROM tasks ORDER BY number DESC LIMIT 1
