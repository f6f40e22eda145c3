-- Tasks that ended before a time and of which no event is left, nor one to come, in the order of their ends.
SELECT t.number, t.completed_at, t.claim, i.stdin_file FROM tasks t JOIN inputs i ON i.task = t.number
WHERE t.completed_at < :before AND t.completed_at >= :from AND (t.completed_at > :from OR t.number > :after)
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.parent = t.parent AND o.task = t.number)
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.seq = t.told)
ORDER BY t.completed_at, t.number LIMIT :most
