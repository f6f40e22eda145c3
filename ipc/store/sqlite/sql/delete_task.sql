-- Forget a task, with all that belongs to it.
DELETE FROM tasks WHERE number = :number
