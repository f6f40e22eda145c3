-- Return the files of a task, and if its end waits for a batch.
SELECT t.number, t.parent, t.claim, i.stdin_file, t.completed_at,
  EXISTS (SELECT 1 FROM outbox o WHERE o.parent = t.parent AND o.task = t.number) AS waits_for_batch
FROM tasks t JOIN inputs i ON i.task = t.number WHERE t.number = :number
