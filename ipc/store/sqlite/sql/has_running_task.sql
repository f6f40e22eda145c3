-- Return a row if a task is running.
SELECT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND limit_group >= '')
