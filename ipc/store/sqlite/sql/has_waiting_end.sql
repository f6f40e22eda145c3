-- Whether ends of a parent's tasks are in no batch yet.
SELECT EXISTS (SELECT 1 FROM outbox WHERE parent = :parent)
