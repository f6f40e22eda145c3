-- Return tasks with an ended dependency: whether one ended badly, and how many have not ended.
SELECT d.task AS number, t.limit_group, t.status, t.not_before, t.due_at, sum(d.finished = 1 AND d.succeeded = 0 AND d.any_end = 0) AS bad,
  sum(d.finished = 0) AS open
FROM dependencies d JOIN tasks t ON t.number = d.task
WHERE d.task IN (SELECT task FROM dependencies WHERE finished = 1 LIMIT :limit)
GROUP BY d.task
