-- Return the files of tasks, newest first: the outputs of their last attempt, and their inputs.
SELECT t.number, t.claim, i.stdin_file, t.completed_at FROM tasks t JOIN inputs i ON i.task = t.number
WHERE t.number < :before ORDER BY t.number DESC LIMIT :limit
