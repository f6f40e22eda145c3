-- Failed or cancelled tasks, newest first, found among those alone.
SELECT * FROM task_rows
WHERE number IN (SELECT number FROM tasks WHERE status IN ('error', 'cancelled') AND status = :status
    AND number < :before AND (:model IS NULL OR model = :model) ORDER BY number DESC LIMIT :limit)
ORDER BY number DESC
