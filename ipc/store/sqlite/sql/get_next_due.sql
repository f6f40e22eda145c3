-- Return the time at which the next delay, expiry or timeout is due.
SELECT min(due_at) FROM tasks WHERE due_at IS NOT NULL
