-- Accept a task: it exists from the commit on.
INSERT INTO tasks (id, parent, message, session, description, agent, model, key, limit_group, unique_key, ready, priority, queued_at, not_before,
  expires_at, due_at, retries, max_attempts, timeout_ms)
VALUES (:id, :parent, :message, :session, :description, :agent, :model, :key, :limit_group, :unique_key, :ready, :priority, :queued_at, :not_before,
  :expires_at, :due_at, :retries, :max_attempts, :timeout_ms)
