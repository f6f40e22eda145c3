-- The limit of a group and whether one task at a time is to be taken, if that slot may be used now.
SELECT most AS "limit", (SELECT value FROM counters WHERE name = 'single') AS single FROM groups WHERE name = :grp AND NOT paused AND (most = 0 OR (:slot < most
    AND (SELECT count(*) FROM tasks WHERE status = 'running' AND grp = :grp) < most))
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND grp = :grp AND slot = :slot)
