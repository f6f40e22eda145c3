-- Return how many ends are in no batch yet.
SELECT count(*) FROM outbox
