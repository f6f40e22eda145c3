-- Change a pending task that no worker holds.
UPDATE tasks SET description = :description, tags = :tags, priority = :priority, key = :key, limit_group = :limit_group,
  timeout_ms = :timeout_ms, retries = :retries, max_attempts = :max_attempts, not_before = :not_before,
  expires_at = :expires_at, due_at = :due_at, ready = :ready, edited = :edited
WHERE number = :number AND status = 'pending' AND ready <> 2
