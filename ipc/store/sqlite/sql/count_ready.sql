-- How many tasks of a group wait to be claimed, counted no further than `most`; the first one's number, agent and launch.
SELECT (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :grp LIMIT :most)) AS ready,
  number, agent, queued_at
FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :grp AND NOT (SELECT paused FROM groups WHERE name = :grp)
ORDER BY priority DESC, number LIMIT 1
