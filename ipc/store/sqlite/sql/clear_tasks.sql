-- Delete all tasks and their rows in other tables. Their numbers are not given again.
DELETE FROM tasks
