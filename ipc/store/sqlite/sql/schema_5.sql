-- The fifth schema: tasks that a worker holds behind the task in its slot. The column with a task's batch is dropped.

DROP TRIGGER batch_formed;

ALTER TABLE tasks DROP COLUMN told;

CREATE TRIGGER batch_formed INSTEAD OF INSERT ON batches
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES ('background_tasks_notification', NEW.at, NEW.parent, NEW.body);
  DELETE FROM outbox WHERE parent = NEW.parent AND seq <= NEW.seq;
END;

-- The claim under which a worker holds the task, which is still pending: `ready` is 2 and `owner` is that worker.
ALTER TABLE tasks ADD COLUMN held INTEGER CHECK ((held IS NOT NULL) = (ready = 2))
  CHECK (held IS NULL OR (status = 'pending' AND owner IS NOT NULL));

-- The time since which another process waits for the worker to publish the task.
ALTER TABLE tasks ADD COLUMN requested INTEGER CHECK (requested IS NULL OR held IS NOT NULL);

-- 1 while a process waits until no task is held: workers take one task at a time.
INSERT INTO counters VALUES ('single', 0);

CREATE INDEX tasks_held ON tasks (owner, number) WHERE ready = 2;

DROP TRIGGER move_refused;

CREATE TRIGGER move_refused BEFORE UPDATE OF status ON tasks
WHEN NOT (OLD.ready = 2 AND NEW.status = 'completed') AND NOT EXISTS (SELECT 1 FROM moves WHERE was = OLD.status AND becomes = NEW.status)
BEGIN
  SELECT RAISE(ABORT, 'illegal move');
END;

-- A held task belongs to its worker: these columns change only when the task is started, returned or completed, which
-- ends the hold. A task that fails or is cancelled was started or returned before.
CREATE TRIGGER held_refused BEFORE UPDATE OF status, ready, owner, grp, held ON tasks
WHEN OLD.ready = 2 AND (NEW.held IS NOT NULL OR NEW.status IN ('error', 'cancelled'))
BEGIN
  SELECT RAISE(ABORT, 'held by its worker');
END;

CREATE TRIGGER held_kept BEFORE DELETE ON tasks WHEN OLD.ready = 2
BEGIN
  SELECT RAISE(ABORT, 'held by its worker');
END;

DROP TRIGGER task_ended;

CREATE TRIGGER task_ended AFTER UPDATE OF status ON tasks WHEN NEW.completed_at IS NOT NULL AND OLD.ready <> 2
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES (
    'background_task_completed', NEW.completed_at, NEW.parent,
    json_object('taskId', NEW.id, 'sessionId', NEW.session, 'status', NEW.status,
      'result', coalesce(NEW.brief, NEW.result), 'error', NEW.error, 'errorKind', NEW.error_kind));
  INSERT INTO outbox (seq, parent, task, at)
    SELECT last_insert_rowid(), NEW.parent, NEW.number, NEW.completed_at WHERE NEW.parent IS NOT NULL;
  UPDATE dependencies SET over = 1, well = (NEW.status = 'completed') WHERE blocker = NEW.number;
END;

-- A held task that has run and completed makes both of its moves in one update.
CREATE TRIGGER task_ran AFTER UPDATE OF status ON tasks WHEN OLD.ready = 2 AND NEW.completed_at IS NOT NULL
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES
    ('background_task_started', NEW.started_at, NEW.parent,
      json_object('taskId', NEW.id, 'sessionId', NEW.session, 'attempt', NEW.attempt)),
    ('background_task_completed', NEW.completed_at, NEW.parent,
      json_object('taskId', NEW.id, 'sessionId', NEW.session, 'status', NEW.status,
        'result', coalesce(NEW.brief, NEW.result), 'error', NEW.error, 'errorKind', NEW.error_kind));
  INSERT INTO outbox (seq, parent, task, at)
    SELECT last_insert_rowid(), NEW.parent, NEW.number, NEW.completed_at WHERE NEW.parent IS NOT NULL;
  UPDATE dependencies SET over = 1, well = 1 WHERE blocker = NEW.number;
END;

-- Workers that wait in their slot while no task of the group is ready: a launch may claim its task for one of them.
-- The process that deletes a row may use the slot.
CREATE TABLE parked (
  owner INTEGER PRIMARY KEY,
  grp TEXT NOT NULL,
  slot INTEGER NOT NULL,
  UNIQUE (grp, slot)
) STRICT;

CREATE TRIGGER process_left AFTER DELETE ON processes
BEGIN
  DELETE FROM parked WHERE owner = OLD.number;
END;
