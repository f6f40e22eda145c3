-- Tasks one of whose dependencies has ended: the bad ends among them, and how many are still to come.
SELECT d.task AS number, t.grp, t.status, t.not_before, t.due_at, sum(d.over = 1 AND d.well = 0 AND d.any_end = 0) AS bad,
  sum(d.over = 0) AS open
FROM dependencies d JOIN tasks t ON t.number = d.task
WHERE d.task IN (SELECT task FROM dependencies WHERE over = 1 LIMIT :most)
GROUP BY d.task
