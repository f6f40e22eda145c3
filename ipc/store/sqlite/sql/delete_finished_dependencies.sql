-- Delete the dependencies of a task on tasks that have ended, or all of them.
DELETE FROM dependencies WHERE task = :task AND (finished = 1 OR :every)
