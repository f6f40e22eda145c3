-- Return the events of a task that begin and end its attempts, in order, among the events up to a number.
-- Their session is not compared: that of the task may have changed. The text is compared first, because that is faster.
SELECT seq, type, at, body FROM events
WHERE seq > :after AND seq <= :to
  AND type IN ('background_task_started', 'background_task_retrying', 'background_task_completed')
  AND instr(body, :id) AND json_extract(body, '$.taskId') = :id ORDER BY seq
