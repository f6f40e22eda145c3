-- The oldest ends of a parent that are in no batch yet.
SELECT o.seq, o.snapshot, t.id FROM outbox o JOIN tasks t ON t.number = o.task WHERE o.parent = :parent ORDER BY o.seq LIMIT :most
