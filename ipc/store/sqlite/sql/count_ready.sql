-- Return the first ready task of a group (number, agent, launch time, key), and the number of ready tasks up to `limit`.
SELECT (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group LIMIT :limit)) AS ready,
  number, agent, queued_at, key
FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group AND NOT (SELECT paused FROM groups WHERE name = :limit_group)
ORDER BY priority DESC, number LIMIT 1
