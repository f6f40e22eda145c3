-- The unfinished tasks of one parent, or of all (parent null), oldest first.
SELECT id FROM tasks INDEXED BY tasks_unfinished
WHERE status IN ('pending', 'running') AND (:parent IS NULL OR parent = :parent) ORDER BY number
