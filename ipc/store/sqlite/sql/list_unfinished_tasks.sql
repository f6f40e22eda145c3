-- Pending or running tasks, newest first, found among the unfinished ones alone.
SELECT * FROM task_rows
WHERE number IN (SELECT number FROM tasks WHERE status IN ('pending', 'running') AND status = :status
    AND number < :before AND (:model IS NULL OR model = :model) ORDER BY number DESC LIMIT :limit)
ORDER BY number DESC
