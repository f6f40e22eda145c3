-- Return the workers that hold tasks, and since when another process waits for them to publish these (null: none).
SELECT t.owner AS number, min(t.requested) AS requested, p.role, p.pid, p.ticks, p.boot, p.pidns
FROM tasks t JOIN processes p ON p.number = t.owner WHERE t.ready = 2 GROUP BY t.owner
