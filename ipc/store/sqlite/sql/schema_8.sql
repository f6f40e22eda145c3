-- The eighth schema: events of changed tasks.

-- The fields that the last edit of the task has changed, as a JSON list.
ALTER TABLE tasks ADD COLUMN edited TEXT;

CREATE TRIGGER task_changed AFTER UPDATE OF edited ON tasks WHEN NEW.edited IS NOT NULL
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES (
    'background_task_changed', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), NEW.parent,
    json_object('taskId', NEW.id, 'fields', json(NEW.edited)));
END;
