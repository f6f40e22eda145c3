-- Return the tasks that a worker holds behind the task in its slot, in order.
SELECT number, id, held AS claim, attempt + 1 AS attempt, max_attempts, interruptions, limit_group, agent, owner, requested FROM tasks WHERE ready = 2 AND owner = :owner ORDER BY held
