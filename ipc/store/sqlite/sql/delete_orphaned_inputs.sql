-- Forget inputs whose task was lost.
DELETE FROM inputs WHERE task NOT IN (SELECT number FROM tasks)
