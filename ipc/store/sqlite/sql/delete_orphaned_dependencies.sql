-- Delete dependencies of lost tasks, and unfinished dependencies on lost tasks.
DELETE FROM dependencies
WHERE task NOT IN (SELECT number FROM tasks) OR (finished = 0 AND blocker NOT IN (SELECT number FROM tasks))
