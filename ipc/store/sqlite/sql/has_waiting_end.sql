-- Return a row if an ended task of a session is in no batch yet.
SELECT EXISTS (SELECT 1 FROM outbox WHERE parent = :parent)
