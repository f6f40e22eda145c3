-- Return how many unfinished tasks a session has, up to its cap.
SELECT count(*) FROM (SELECT 1 FROM tasks WHERE parent = :parent AND status IN ('pending', 'running') LIMIT :cap)
