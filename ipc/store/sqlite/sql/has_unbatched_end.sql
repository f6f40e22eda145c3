-- Return a row if an end is in no batch yet.
SELECT EXISTS (SELECT 1 FROM outbox)
