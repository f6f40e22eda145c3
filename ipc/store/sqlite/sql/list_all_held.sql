-- Return all held tasks in the order in which they were taken.
SELECT number, id, held AS claim, attempt + 1 AS attempt, max_attempts, interruptions, limit_group, agent, owner, requested FROM tasks WHERE ready = 2 AND owner >= 0 ORDER BY held
