-- Start a try at a task: only from pending, only by one.
UPDATE tasks SET status = 'running', slot = :slot, claim = :claim, owner = :owner, attempt = attempt + 1, started_at = :now,
  due_at = CASE WHEN agent = 'external' THEN :now + timeout_ms END,
  error = NULL, error_kind = NULL, exit_code = NULL, signal = NULL, leftovers = 0, idle_ms = NULL, progress = NULL
WHERE number = :number AND status = 'pending'
RETURNING number, id, parent, message, session, description, agent, model, grp, slot, claim, attempt, max_attempts, interruptions, timeout_ms
