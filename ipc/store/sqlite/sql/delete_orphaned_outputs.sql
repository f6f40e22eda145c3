-- Forget outputs whose task was lost.
DELETE FROM outputs WHERE task NOT IN (SELECT number FROM tasks)
