-- Return the sessions with ended tasks that are in no batch yet: the number of tasks, and when the first ended.
SELECT parent, count(*) AS count, min(at) AS since FROM outbox GROUP BY parent
