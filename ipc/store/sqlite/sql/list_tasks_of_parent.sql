-- Return the tasks of a session, newest first.
SELECT * FROM task_rows
WHERE parent = :parent AND number < :before AND (:status IS NULL OR status = :status) AND (:model IS NULL OR model = :model)
  AND (:tags IS NULL OR instr(tags, :rarest_tag) AND NOT EXISTS (SELECT 1 FROM json_each(:tags) wanted
    WHERE wanted.value NOT IN (SELECT value FROM json_each(tags))))
ORDER BY number DESC LIMIT :limit
