-- Return the running tasks, the longest first, and the pending tasks in the order in which they will probably start.
SELECT number FROM tasks
WHERE status IN ('pending', 'running') AND (:parent IS NULL OR parent = :parent) AND {matches}
ORDER BY status = 'running' DESC, iif(status = 'running', started_at, NULL),
  (SELECT paused FROM groups g WHERE g.name = limit_group), ready DESC,
  NOT EXISTS (SELECT 1 FROM dependencies d WHERE d.task = number), iif(ready, NULL, not_before), priority DESC, number
LIMIT :limit
