-- Return a row if an end of a session's tasks is in no batch yet.
SELECT EXISTS (SELECT 1 FROM outbox WHERE parent = :parent)
