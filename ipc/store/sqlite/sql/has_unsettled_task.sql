-- Return 1 if a task is unfinished, or an ended task is in no batch yet.
SELECT EXISTS (SELECT 1 FROM tasks WHERE status IN ('pending', 'running')) OR EXISTS (SELECT 1 FROM outbox)
