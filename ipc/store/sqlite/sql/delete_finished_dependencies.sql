-- Dependencies of a task that are over.
DELETE FROM dependencies WHERE task = :task AND (finished = 1 OR :every)
