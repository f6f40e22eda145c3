-- Return the columns of a task that an edit may change.
SELECT number, description, tags, priority, key, limit_group, timeout_ms, retries, attempt, max_attempts, not_before, expires_at,
  due_at, ready, EXISTS (SELECT 1 FROM dependencies d WHERE d.task = tasks.number) AS blocked
FROM tasks WHERE number = :number
