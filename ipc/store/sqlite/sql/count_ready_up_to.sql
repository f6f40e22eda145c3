-- Return the number of ready tasks of a group, up to `limit`.
SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group LIMIT :limit)
