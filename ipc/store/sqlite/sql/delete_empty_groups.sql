-- Delete groups that have no key and no limit, and are not paused.
DELETE FROM groups WHERE configured IS NULL AND live IS NULL AND NOT paused AND pending = 0
  AND NOT EXISTS (SELECT 1 FROM keys WHERE keys.limit_group = groups.name)
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND tasks.limit_group = groups.name)
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'pending' AND ready IN (0, 1) AND tasks.limit_group = groups.name)
