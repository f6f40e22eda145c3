-- Return failed or cancelled tasks, newest first, by an index of such tasks.
SELECT * FROM task_rows
WHERE number IN (SELECT number FROM tasks WHERE status IN ('error', 'cancelled') AND status = :status
    AND number < :before AND {matches}
    ORDER BY number DESC LIMIT :limit)
ORDER BY number DESC
