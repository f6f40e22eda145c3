-- Return the outputs of a task that are in the database.
SELECT claim, stream, data FROM outputs WHERE task = :task
