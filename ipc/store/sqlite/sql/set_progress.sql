-- Note how far a running task is.
UPDATE tasks SET progress = :text WHERE id = :id AND status = 'running'
