-- Whether a task runs.
SELECT EXISTS (SELECT 1 FROM tasks WHERE status = 'running' AND limit_group >= '')
