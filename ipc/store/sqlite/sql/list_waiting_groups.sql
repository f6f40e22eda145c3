-- Return the first ready task of each group, oldest first.
WITH RECURSIVE waiting (limit_group) AS (
  SELECT (SELECT min(limit_group) FROM tasks WHERE status = 'pending' AND ready = 1)
  UNION ALL
  SELECT (SELECT min(limit_group) FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group > waiting.limit_group) FROM waiting WHERE limit_group IS NOT NULL)
SELECT limit_group, (SELECT number FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = waiting.limit_group
  ORDER BY priority DESC, number LIMIT 1) AS head
FROM waiting WHERE limit_group IS NOT NULL AND NOT (SELECT paused FROM groups WHERE name = waiting.limit_group)
