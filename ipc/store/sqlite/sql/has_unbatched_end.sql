-- Return a row if an ended task is in no batch yet.
SELECT EXISTS (SELECT 1 FROM outbox)
