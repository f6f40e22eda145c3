-- Start an attempt of a ready task (`held` null), or of a task that is held under this claim.
UPDATE tasks SET status = 'running', slot = :slot, claim = :claim, owner = :owner, attempt = attempt + 1, started_at = :started_at,
  due_at = CASE WHEN agent = 'external' THEN :started_at + timeout_ms END, ready = 1, held = NULL, requested = NULL,
  error = NULL, error_kind = NULL, exit_code = NULL, signal = NULL, leftovers = 0, idle_ms = NULL, progress = NULL
WHERE number = :number AND status = 'pending' AND ready > 0 AND held IS :held
