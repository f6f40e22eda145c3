-- Delete the outbox rows of lost tasks.
DELETE FROM outbox WHERE task NOT IN (SELECT number FROM tasks)
