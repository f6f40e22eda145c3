-- A task that waits for another to end.
INSERT INTO dependencies (blocker, task, any_end, over, well) VALUES (:blocker, :task, :any_end, :over, :well)
ON CONFLICT (blocker, task) DO UPDATE SET any_end = min(any_end, :any_end)
