-- Return 1 if a task without a session is pending or running.
SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_unfinished WHERE status IN ('pending', 'running') AND parent IS NULL)
