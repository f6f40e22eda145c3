-- Return the first task that should have completed, and has failed or was cancelled.
SELECT b.id, b.status FROM dependencies d JOIN tasks b ON b.number = d.blocker
WHERE d.task = :task AND d.finished = 1 AND d.succeeded = 0 AND d.any_end = 0
ORDER BY b.number LIMIT 1
