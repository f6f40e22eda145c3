-- Forget all tasks, with all that belongs to them; their numbers are not given again.
DELETE FROM tasks
