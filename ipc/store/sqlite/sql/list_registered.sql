-- Return all registered processes, and whether a running task belongs to them.
SELECT p.role, p.pid, p.ticks, p.boot, p.pidns,
  EXISTS (SELECT 1 FROM tasks t WHERE t.status = 'running' AND t.owner = p.number) AS has_task
FROM processes p ORDER BY p.number
