-- Start and complete a held task in one update.
UPDATE tasks SET status = 'completed', claim = held, attempt = attempt + 1, started_at = :started_at, completed_at = :ended_at,
  result = :result, result_truncated = :result_truncated, brief = :brief, error = NULL, error_kind = NULL, exit_code = :exit_code,
  signal = NULL, leftovers = 0, idle_ms = NULL, progress = NULL, expires_at = NULL, owner = NULL, held = NULL, requested = NULL, ready = 0
WHERE number = :number AND status = 'pending' AND ready = 2 AND held = :claim
