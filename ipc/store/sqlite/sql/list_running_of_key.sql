-- Return a key's running tasks that are still in its old group.
SELECT number FROM tasks WHERE status = 'running' AND limit_group = :was AND key = :key
