-- Recount the pending tasks of each group.
UPDATE groups SET pending = (SELECT count(*) FROM tasks WHERE status = 'pending' AND limit_group = groups.name)
