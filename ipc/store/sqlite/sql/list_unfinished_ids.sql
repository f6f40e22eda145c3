-- Return the unfinished tasks of a session, or of all (null), oldest first.
SELECT id FROM tasks INDEXED BY tasks_unfinished
WHERE status IN ('pending', 'running') AND (:parent IS NULL OR parent = :parent) ORDER BY number
