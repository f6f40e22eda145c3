-- End an attempt by its claim. A verdict that was recorded before overrides the given outcome.
UPDATE tasks SET status = coalesce(verdict, :status),
  completed_at = CASE WHEN coalesce(verdict, :status) <> 'pending' THEN :ended_at END,
  result = CASE WHEN verdict IS NULL THEN :result WHEN verdict = 'completed' THEN verdict_text END,
  result_truncated = CASE WHEN verdict IS NULL THEN :result_truncated ELSE result_truncated END,
  brief = CASE WHEN verdict IS NULL THEN :brief ELSE brief END,
  error = CASE WHEN verdict IS NULL THEN :error WHEN verdict IN ('error', 'pending') THEN verdict_text END,
  error_kind = CASE WHEN verdict IS NULL THEN :error_kind ELSE verdict_kind END,
  exit_code = :exit_code, signal = :signal, leftovers = :leftovers, session = coalesce(:session, session),
  attempt = attempt - max(:unused, coalesce(verdict = 'pending' AND verdict_kind = 'interrupted', 0)), interruptions = interruptions + :unused,
  not_before = CASE WHEN coalesce(verdict, :status) = 'pending' THEN :not_before ELSE not_before END,
  ready = CASE WHEN coalesce(verdict, :status) = 'pending' THEN :not_before IS NULL ELSE 0 END,
  due_at = CASE WHEN coalesce(verdict, :status) = 'pending' THEN :not_before END,
  expires_at = NULL, slot = NULL, pid = NULL, owner = NULL, verdict = NULL, verdict_text = NULL, verdict_kind = NULL
WHERE number = :number AND status = 'running' AND claim = :claim
RETURNING id, status
