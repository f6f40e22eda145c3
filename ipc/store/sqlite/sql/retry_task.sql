-- Queue an ended task again for a user.
UPDATE tasks SET status = 'pending', limit_group = :limit_group,
  ready = NOT EXISTS (SELECT 1 FROM dependencies d WHERE d.task = tasks.number), queued_at = :now, completed_at = NULL, started_at = NULL, not_before = NULL, expires_at = NULL, due_at = NULL,
  max_attempts = max_attempts + retries + 1, interruptions = 0, result = NULL, brief = NULL, result_truncated = 0, error = NULL, error_kind = NULL,
  exit_code = NULL, signal = NULL, leftovers = 0, progress = NULL
WHERE number = :number AND status IN ('error', 'cancelled')
