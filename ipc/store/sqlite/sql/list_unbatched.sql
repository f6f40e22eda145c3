-- Return the sessions with ends that are in no batch yet: how many, and since when.
SELECT parent, count(*) AS count, min(at) AS since FROM outbox GROUP BY parent
