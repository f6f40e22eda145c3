-- Return tasks with a finished dependency: whether any has failed, and the number of unfinished dependencies.
SELECT d.task AS number, t.limit_group, t.status, t.not_before, t.due_at, sum(d.finished = 1 AND d.succeeded = 0 AND d.any_end = 0) AS bad,
  sum(d.finished = 0) AS open
FROM dependencies d JOIN tasks t ON t.number = d.task
WHERE d.task IN (SELECT task FROM dependencies WHERE finished = 1 LIMIT :limit)
GROUP BY d.task
