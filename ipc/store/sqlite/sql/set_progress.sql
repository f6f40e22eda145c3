-- Set the progress of a running task.
UPDATE tasks SET progress = :text WHERE id = :id AND status = 'running'
