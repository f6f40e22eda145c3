-- Return the state of a task.
SELECT number, status, ready, agent, claim, owner, verdict, attempt, max_attempts, progress FROM tasks WHERE id = :id
