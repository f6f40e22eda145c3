-- The fourth schema: events of progress, at most one per second and task.

ALTER TABLE tasks ADD COLUMN progress_at INTEGER;

CREATE TRIGGER task_progressed AFTER UPDATE OF progress ON tasks
WHEN NEW.status = 'running' AND NEW.progress IS NOT NULL AND NEW.progress IS NOT OLD.progress
  AND coalesce(OLD.progress_at, 0) NOT BETWEEN CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - 999
    AND CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES (
    'background_task_progress', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), NEW.parent,
    json_object('taskId', NEW.id, 'progress', NEW.progress));
  UPDATE tasks SET progress_at = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE number = NEW.number;
END;
