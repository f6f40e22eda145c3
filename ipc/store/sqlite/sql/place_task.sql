-- The session and the limit group of a new task, and whether the group has a free slot; no row for an unknown key.
SELECT coalesce((SELECT heir FROM heirs WHERE parent = :parent), :parent) AS parent, k.grp AS grp, g.paused AS paused,
  g.most > 0 AND (SELECT count(*) FROM tasks WHERE status = 'running' AND grp = k.grp) >= g.most AS full,
  (SELECT count(*) FROM tasks WHERE status = 'running' AND agent <> 'external') AS busy,
  (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
FROM keys k JOIN groups g ON g.name = k.grp WHERE k.name = :key
