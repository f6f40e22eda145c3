-- Forget ends that wait for a batch and whose task was lost.
DELETE FROM outbox WHERE task NOT IN (SELECT number FROM tasks)
