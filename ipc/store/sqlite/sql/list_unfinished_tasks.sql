-- Return pending or running tasks, newest first, by an index of such tasks.
SELECT * FROM task_rows
WHERE number IN (SELECT number FROM tasks WHERE status IN ('pending', 'running') AND status = :status
    AND number < :before AND (:model IS NULL OR model = :model)
    AND (:tags IS NULL OR instr(tags, :rarest_tag) AND NOT EXISTS (SELECT 1 FROM json_each(:tags) wanted
      WHERE wanted.value NOT IN (SELECT value FROM json_each(tags))))
    ORDER BY number DESC LIMIT :limit)
ORDER BY number DESC
