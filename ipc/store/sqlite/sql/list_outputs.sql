-- What a task wrote, where that is kept in the database.
SELECT claim, stream, data FROM outputs WHERE task = :task
