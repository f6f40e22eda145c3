-- Park a worker in its slot, if the slot may be used now and no task of the group is ready.
INSERT INTO parked (owner, grp, slot) SELECT :owner, name, :slot FROM groups
WHERE name = :grp AND NOT paused AND (most = 0 OR :slot < most)
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND grp = :grp AND slot = :slot)
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :grp)
ON CONFLICT (owner) DO UPDATE SET grp = excluded.grp, slot = excluded.slot
ON CONFLICT (grp, slot) DO NOTHING
