-- The fifth schema: a batch names its tasks, a task no longer names its batch.

DROP TRIGGER batch_formed;

ALTER TABLE tasks DROP COLUMN told;

CREATE TRIGGER batch_formed INSTEAD OF INSERT ON batches
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES ('background_tasks_notification', NEW.at, NEW.parent, NEW.body);
  DELETE FROM outbox WHERE parent = NEW.parent AND seq <= NEW.seq;
END;
