-- The first waiting task of a group that is not paused.
SELECT number, agent FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :grp AND NOT (SELECT paused FROM groups WHERE name = :grp)
ORDER BY priority DESC, number LIMIT 1
