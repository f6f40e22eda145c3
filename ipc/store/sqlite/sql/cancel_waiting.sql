-- Cancel some pending tasks.
UPDATE tasks SET status = 'cancelled', completed_at = :now, ready = 0, due_at = NULL
WHERE number IN (SELECT number FROM tasks WHERE status IN ('pending', 'running') AND status = 'pending' AND ready <> 2 LIMIT :limit)
