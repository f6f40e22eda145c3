-- If this slot may be used now, return the limit of its group, and whether tasks are taken one at a time.
SELECT slot_limit AS "limit", (SELECT value FROM counters WHERE name = 'single') AS single FROM groups WHERE name = :limit_group AND NOT paused AND (slot_limit = 0 OR (:slot < slot_limit
    AND (SELECT count(*) FROM tasks WHERE status = 'running' AND limit_group = :limit_group) < slot_limit))
  AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND limit_group = :limit_group AND slot = :slot)
