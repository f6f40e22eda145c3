-- Which files tasks use, newest first: their last try's output, and their input.
SELECT t.number, t.claim, i.stdin_file, t.completed_at FROM tasks t JOIN inputs i ON i.task = t.number
WHERE t.number < :before ORDER BY t.number DESC LIMIT :limit
