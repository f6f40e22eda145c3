-- Park a worker in its slot, if the slot may be used now and no task of the group is ready.
INSERT INTO parked (owner, limit_group, slot) SELECT :owner, name, :slot FROM groups
WHERE name = :limit_group AND NOT paused AND (slot_limit = 0 OR :slot < slot_limit)
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND limit_group = :limit_group AND slot = :slot)
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group)
ON CONFLICT (owner) DO UPDATE SET limit_group = excluded.limit_group, slot = excluded.slot
ON CONFLICT (limit_group, slot) DO NOTHING
