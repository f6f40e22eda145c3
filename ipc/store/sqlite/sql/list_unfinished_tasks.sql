-- Return pending or running tasks, newest first, by an index of such tasks.
SELECT * FROM task_rows
WHERE number IN (SELECT number FROM tasks WHERE status IN ('pending', 'running') AND number < :before AND {matches}
    ORDER BY number DESC LIMIT :limit)
ORDER BY number DESC
