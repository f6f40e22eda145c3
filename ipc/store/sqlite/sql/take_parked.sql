-- Take the slot of a parked worker for a task, if the slot may be used and no other task of the group is ready.
DELETE FROM parked WHERE owner = (
  SELECT p.owner FROM parked p JOIN groups g ON g.name = p.limit_group
  WHERE p.limit_group = :limit_group AND NOT g.paused AND (g.slot_limit = 0 OR (p.slot < g.slot_limit
      AND (SELECT count(*) FROM tasks WHERE status = 'running' AND limit_group = :limit_group) < g.slot_limit))
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND limit_group = :limit_group AND slot = p.slot)
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group AND number <> :number)
  ORDER BY p.slot LIMIT 1)
RETURNING owner, slot
