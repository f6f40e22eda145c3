-- Delete inputs whose task is lost.
DELETE FROM inputs WHERE task NOT IN (SELECT number FROM tasks)
