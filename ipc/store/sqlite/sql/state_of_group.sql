-- What pending tasks of a group wait for, besides their own delays and dependencies.
SELECT paused, most > 0 AND (SELECT count(*) FROM tasks WHERE status = 'running' AND grp = :grp) >= most AS full,
  (SELECT count(*) FROM tasks WHERE status = 'running' AND agent <> 'external') AS busy,
  (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
FROM groups WHERE name = :grp
