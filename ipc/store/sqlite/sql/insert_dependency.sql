-- Make a task wait until another task ends.
INSERT INTO dependencies (blocker, task, any_end, finished, succeeded) VALUES (:blocker, :task, :any_end, :finished, :succeeded)
ON CONFLICT (blocker, task) DO UPDATE SET any_end = min(any_end, :any_end)
