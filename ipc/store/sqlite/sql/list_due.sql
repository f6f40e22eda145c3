-- Return tasks whose delay, expiry or timeout is due.
SELECT number, id, status, limit_group, agent, claim, attempt, max_attempts, timeout_ms, not_before, expires_at,
  EXISTS (SELECT 1 FROM dependencies d WHERE d.task = tasks.number) AS blocked
FROM tasks WHERE due_at <= :now ORDER BY due_at LIMIT :limit
