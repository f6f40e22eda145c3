-- Return 1 if a session has unfinished tasks, or further ended tasks that are in no batch.
SELECT EXISTS (SELECT 1 FROM outbox WHERE parent = :parent AND seq > :seq)
  OR EXISTS (SELECT 1 FROM tasks WHERE parent = :parent AND status IN ('pending', 'running'))
