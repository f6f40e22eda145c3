-- Every limit group that is in use, has a limit of its own, or is paused; what runs is counted, not remembered.
SELECT name, slot_limit, paused, pending, (SELECT count(*) FROM tasks WHERE status = 'running' AND limit_group = name) AS running
FROM groups ORDER BY name
