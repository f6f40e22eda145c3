-- Move a key's pending tasks to its new group.
UPDATE tasks SET limit_group = :limit_group WHERE number IN (
  SELECT number FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :was AND key = :key
  UNION ALL SELECT number FROM tasks WHERE status = 'pending' AND ready = 0 AND limit_group = :was AND key = :key)
