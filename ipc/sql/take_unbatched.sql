-- The oldest ends of a parent that are in no batch yet.
SELECT o.seq, o.snapshot, t.*, i.cwd, i.command, i.call, i.metadata, i.after, i.resumes
FROM outbox o JOIN tasks t ON t.number = o.task JOIN inputs i ON i.task = o.task
WHERE o.parent = :parent ORDER BY o.seq LIMIT :most
