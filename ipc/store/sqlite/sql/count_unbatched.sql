-- Return the number of ended tasks that are in no batch yet.
SELECT count(*) FROM outbox
