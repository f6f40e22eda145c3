-- A key's running tasks that are still in its old group.
SELECT number FROM tasks WHERE status = 'running' AND grp = :was AND key = :key
