-- How many tasks of a group wait to be claimed, counted no further than `limit`; the first one's number, agent and launch.
SELECT (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group LIMIT :limit)) AS ready,
  number, agent, queued_at
FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group AND NOT (SELECT paused FROM groups WHERE name = :limit_group)
ORDER BY priority DESC, number LIMIT 1
