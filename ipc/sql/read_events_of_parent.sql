-- One parent's events, in order, as they are told.
SELECT seq, type, at, parent,
  CASE type WHEN 'background_tasks_notification' THEN json_remove(body, '$.taskIds', '$.source') ELSE body END AS body
FROM events WHERE parent = :parent AND seq > :after ORDER BY seq LIMIT :most
