-- Return the number of unfinished tasks of a session, up to its cap.
SELECT count(*) FROM (SELECT 1 FROM tasks WHERE parent = :parent AND status IN ('pending', 'running') LIMIT :cap)
