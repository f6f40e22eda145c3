-- Return every group that has tasks or its own limit, or is paused. Running tasks are counted now.
SELECT name, slot_limit, paused, pending, (SELECT count(*) FROM tasks WHERE status = 'running' AND limit_group = name) AS running
FROM groups ORDER BY name
