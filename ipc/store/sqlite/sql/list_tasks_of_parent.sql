-- Return the tasks of a session, newest first.
SELECT * FROM task_rows WHERE parent = :parent AND number < :before AND {matches}
ORDER BY number DESC LIMIT :limit
