-- Return the first ready task of a group without these keys, and the number of such ready tasks up to `limit`.
WITH open AS (SELECT number, agent, queued_at, key, priority FROM tasks WHERE status = 'pending' AND ready = 1 AND limit_group = :limit_group
    AND key NOT IN (SELECT value FROM json_each(:keys)) AND NOT (SELECT paused FROM groups WHERE name = :limit_group)
  ORDER BY priority DESC, number LIMIT :limit)
SELECT (SELECT count(*) FROM open) AS ready, number, agent, queued_at, key FROM open ORDER BY priority DESC, number LIMIT 1
