-- The first waiting task of a group, if that slot of it may be used now and the task is of the kind asked for.
SELECT number FROM (
  SELECT number, agent FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :grp ORDER BY priority DESC, number LIMIT 1)
WHERE (agent = 'external') = :external
  AND EXISTS (SELECT 1 FROM groups WHERE name = :grp AND NOT paused AND (most = 0 OR (:slot < most
    AND (SELECT count(*) FROM tasks WHERE status = 'running' AND grp = :grp) < most)))
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND grp = :grp AND slot = :slot)
