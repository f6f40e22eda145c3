-- Take the slot of a parked worker for a task, if the slot may be used now and no other task of the group is ready.
DELETE FROM parked WHERE owner = (
  SELECT p.owner FROM parked p JOIN groups g ON g.name = p.grp
  WHERE p.grp = :grp AND NOT g.paused AND (g.most = 0 OR (p.slot < g.most
      AND (SELECT count(*) FROM tasks WHERE status = 'running' AND grp = :grp) < g.most))
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND grp = :grp AND slot = p.slot)
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :grp AND number <> :number)
  ORDER BY p.slot LIMIT 1)
RETURNING owner, slot
