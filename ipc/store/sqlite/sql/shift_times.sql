-- Move delays, expiries and timeouts after the wall clock was set, except those of later launches.
UPDATE tasks SET not_before = not_before + :by, expires_at = expires_at + :by, due_at = due_at + :by
WHERE queued_at NOT BETWEEN :since AND :now AND number IN (
  SELECT number FROM tasks WHERE due_at IS NOT NULL UNION SELECT number FROM tasks WHERE status = 'pending' AND ready = 0
  UNION SELECT number FROM tasks WHERE ready = 2 AND owner >= 0)
