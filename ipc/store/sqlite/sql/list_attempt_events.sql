-- Return the events of a task that begin and end its attempts, in order, among the events up to a number.
SELECT seq, type, at, body FROM events
WHERE seq > :after AND seq <= :to AND parent IS :parent
  AND type IN ('background_task_started', 'background_task_retrying', 'background_task_completed')
  AND json_extract(body, '$.taskId') = :id ORDER BY seq
