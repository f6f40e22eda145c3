-- One parent's tasks, newest first.
SELECT * FROM task_rows
WHERE parent = :parent AND number < :before AND (:status IS NULL OR status = :status) AND (:model IS NULL OR model = :model)
ORDER BY number DESC LIMIT :limit
