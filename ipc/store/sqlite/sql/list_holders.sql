-- Return the workers that hold tasks, and the time since which another process waits for their publication, or null.
SELECT t.owner AS number, min(t.requested) AS requested, p.role, p.pid, p.ticks, p.boot, p.pidns
FROM tasks t JOIN processes p ON p.number = t.owner WHERE t.ready = 2 GROUP BY t.owner
