-- Return the oldest ended tasks of a session that are in no batch, with their status and `Task.brief`.
SELECT o.seq, t.id, coalesce(json_extract(o.snapshot, '$.status'), t.status) AS status,
  coalesce(json(o.snapshot), json_object({brief})) AS brief
FROM outbox o JOIN tasks t ON t.number = o.task JOIN inputs i ON i.task = o.task
WHERE o.parent = :parent ORDER BY o.seq LIMIT :limit
