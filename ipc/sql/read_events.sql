-- Events of all, in order, as they are told: of a batch, without what only the log notes.
SELECT seq, type, at, parent,
  CASE type WHEN 'background_tasks_notification' THEN json_remove(body, '$.taskIds', '$.source') ELSE body END AS body
FROM events WHERE seq > :after ORDER BY seq LIMIT :most
