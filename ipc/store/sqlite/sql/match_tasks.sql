-- The conditions of `Filter`, which other statements include. Text is searched in the newest 10 000 tasks.
SELECT number FROM tasks WHERE
  number >= iif(:text IS NULL, 0, coalesce((SELECT number FROM tasks ORDER BY number DESC LIMIT 1 OFFSET 9999), 0))
  AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
  AND (:model IS NULL OR model = :model) AND (:agent IS NULL OR agent = :agent)
  AND (:key IS NULL OR key = :key OR limit_group = :key)
  AND (:since IS NULL OR coalesce(completed_at, started_at, queued_at) >= :since)
  AND (:tags IS NULL OR instr(tags, :rarest_tag) AND NOT EXISTS (SELECT 1 FROM json_each(:tags) wanted
    WHERE wanted.value NOT IN (SELECT value FROM json_each(tags))))
  AND (:text IS NULL OR description LIKE :text ESCAPE '!' OR EXISTS (SELECT 1 FROM inputs i WHERE i.task = number
    AND (i.call LIKE :text ESCAPE '!' OR i.prompt LIKE :text ESCAPE '!'
      OR (SELECT group_concat(value, ' ') FROM json_each(i.command)) LIKE :text ESCAPE '!')))
