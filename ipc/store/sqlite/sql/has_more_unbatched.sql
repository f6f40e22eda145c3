-- Return 1 if a session has further ends that are in no batch, or unfinished tasks.
SELECT EXISTS (SELECT 1 FROM outbox WHERE parent = :parent AND seq > :seq)
  OR EXISTS (SELECT 1 FROM tasks WHERE parent = :parent AND status IN ('pending', 'running'))
