-- Return the lowest slot of a group that no running task has.
SELECT min(candidate) FROM (
  SELECT 0 AS candidate UNION ALL SELECT slot + 1 FROM tasks WHERE status = 'running' AND limit_group = :limit_group)
WHERE candidate NOT IN (SELECT slot FROM tasks WHERE status = 'running' AND limit_group = :limit_group)
