-- Return events in order, from the oldest on, with the number of tasks in a batch.
-- `deletable` is 1 if an event has no session, was acknowledged by every consumer of its session, or is too old to wait for.
SELECT seq, parent, at, parent IS NULL OR at < :ancient
  OR seq <= coalesce((SELECT min(c.seq) FROM cursors c WHERE c.parent = e.parent), 0) AS deletable,
  iif(type = 'background_tasks_notification', json_array_length(body, '$.taskIds'), 0) AS tasks
FROM events e WHERE seq > :after ORDER BY seq LIMIT :limit
