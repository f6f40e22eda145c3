-- Return the session and the group of a new task, and the state of the group. Return no row for an unknown key.
SELECT coalesce((SELECT successor FROM successors WHERE parent = :parent), :parent) AS parent, k.limit_group AS limit_group, g.paused AS paused,
  g.slot_limit > 0 AND (SELECT count(*) FROM tasks WHERE status = 'running' AND limit_group = k.limit_group) >= g.slot_limit AS full,
  (SELECT count(*) FROM tasks WHERE status = 'running' AND agent <> 'external') AS busy,
  (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
FROM keys k JOIN groups g ON g.name = k.limit_group WHERE k.name = :key
