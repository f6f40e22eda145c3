-- Return ended tasks that are old enough to be deleted, but will not be deleted with a batch, in the order they ended.
-- A task is returned if it has no session, if no event of its session is left, or if it is very old.
SELECT t.number, t.completed_at, t.claim, i.stdin_file FROM tasks t JOIN inputs i ON i.task = t.number
WHERE t.completed_at < :before AND t.completed_at >= :from AND (t.completed_at > :from OR t.number > :after)
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.parent = t.parent AND o.task = t.number)
  AND (t.parent IS NULL OR t.completed_at < :ancient OR NOT EXISTS (SELECT 1 FROM events e WHERE e.parent = t.parent))
ORDER BY t.completed_at, t.number LIMIT :limit
