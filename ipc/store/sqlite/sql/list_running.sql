-- Return every running task with its process.
SELECT t.number AS task, t.id, t.claim, t.key, t.limit_group, t.slot, t.agent, t.attempt, t.max_attempts, t.interruptions, t.verdict, t.pid AS task_pid,
  p.number, p.role, p.pid, p.ticks, p.boot, p.pidns
FROM tasks t LEFT JOIN processes p ON p.number = t.owner WHERE t.status = 'running'
