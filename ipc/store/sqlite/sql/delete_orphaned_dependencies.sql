-- Forget dependencies of and on tasks that were lost, unless the one waited for is over.
DELETE FROM dependencies
WHERE task NOT IN (SELECT number FROM tasks) OR (finished = 0 AND blocker NOT IN (SELECT number FROM tasks))
