-- The oldest of the first waiting tasks, a group a row.
WITH RECURSIVE waiting (grp) AS (
  SELECT (SELECT min(grp) FROM tasks WHERE status = 'pending' AND ready = 1)
  UNION ALL
  SELECT (SELECT min(grp) FROM tasks WHERE status = 'pending' AND ready = 1 AND grp > waiting.grp) FROM waiting WHERE grp IS NOT NULL)
SELECT grp, (SELECT number FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = waiting.grp
  ORDER BY priority DESC, number LIMIT 1) AS head
FROM waiting WHERE grp IS NOT NULL AND NOT (SELECT paused FROM groups WHERE name = waiting.grp)
