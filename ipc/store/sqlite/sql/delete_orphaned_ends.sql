-- Delete ends that are in no batch yet and whose task is lost.
DELETE FROM outbox WHERE task NOT IN (SELECT number FROM tasks)
