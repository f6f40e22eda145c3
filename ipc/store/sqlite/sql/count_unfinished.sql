-- How many unfinished tasks a parent has, counted no further than its cap.
SELECT count(*) FROM (SELECT 1 FROM tasks WHERE parent = :parent AND status IN ('pending', 'running') LIMIT :cap)
