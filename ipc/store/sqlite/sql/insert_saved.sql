-- Write a task back as it was saved: it is no move, so nothing is told of it.
INSERT INTO tasks (number, id, parent, message, session, description, agent, model, key, limit_group, unique_key, status, ready, priority, queued_at,
  started_at, completed_at, not_before, due_at, attempt, retries, max_attempts, timeout_ms, result, result_truncated, error,
  error_kind, exit_code, signal, leftovers, progress, claim)
VALUES (:number, :id, :parent, :message, :session, :description, :agent, :model, :key, :limit_group, :unique_key, :status, :ready, :priority, :queued_at,
  :started_at, :completed_at, :not_before, :due_at, :attempt, :retries, :max_attempts, :timeout_ms, :result, :result_truncated, :error,
  :error_kind, :exit_code, :signal, :leftovers, :progress, :claim)
