-- Return tasks, newest first.
SELECT * FROM task_rows WHERE number < :before AND {matches}
ORDER BY number DESC LIMIT :limit
