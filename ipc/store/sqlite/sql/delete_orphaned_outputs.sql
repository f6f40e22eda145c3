-- Delete outputs whose task is lost.
DELETE FROM outputs WHERE task NOT IN (SELECT number FROM tasks)
