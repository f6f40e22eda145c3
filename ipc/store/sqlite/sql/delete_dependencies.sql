-- Delete the dependencies of a task.
DELETE FROM dependencies WHERE task = :task
