-- Return the state of a group that pending tasks wait for.
SELECT paused, slot_limit > 0 AND (SELECT count(*) FROM tasks WHERE status = 'running' AND limit_group = :limit_group) >= slot_limit AS full,
  (SELECT count(*) FROM tasks WHERE status = 'running' AND agent <> 'external') AS busy,
  (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
FROM groups WHERE name = :limit_group
