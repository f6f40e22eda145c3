-- Delete a task and its rows in other tables.
DELETE FROM tasks WHERE number = :number
