-- The first schema: tasks and their moves, the event log that only triggers write, and the process table.

CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters VALUES ('limits', 0);

CREATE TABLE moves (
  was TEXT NOT NULL,
  becomes TEXT NOT NULL,
  PRIMARY KEY (was, becomes)
) STRICT, WITHOUT ROWID;

INSERT INTO moves VALUES
  ('pending', 'running'), ('pending', 'cancelled'), ('pending', 'error'),
  ('running', 'completed'), ('running', 'error'), ('running', 'cancelled'), ('running', 'pending'),
  ('error', 'pending'), ('cancelled', 'pending');

-- A limit group. `most` is the limit in force (0: none); it comes from `live`, else from `configured`.
-- `pending` is only displayed. No decision uses it: a claim counts the running tasks in `tasks`.
CREATE TABLE groups (
  name TEXT PRIMARY KEY,
  most INTEGER NOT NULL CHECK (most >= 0),
  configured INTEGER,
  live INTEGER,
  paused INTEGER NOT NULL DEFAULT 0,
  pending INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Each key of a task, and its group now.
CREATE TABLE keys (
  name TEXT PRIMARY KEY,
  grp TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE processes (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  role TEXT NOT NULL,
  pid INTEGER NOT NULL,
  ticks INTEGER NOT NULL,
  boot TEXT NOT NULL,
  pidns TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT;

CREATE TABLE tasks (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  parent TEXT,
  message TEXT,
  session TEXT,
  description TEXT,
  agent TEXT NOT NULL,
  model TEXT,
  key TEXT NOT NULL,
  grp TEXT NOT NULL,
  uniq TEXT,
  status TEXT NOT NULL DEFAULT 'pending'
    -- for an IN with more than two values, SQLite would fill a temporary table at each change of a row
    CHECK (status = 'pending' OR status = 'running' OR status = 'completed' OR status = 'error' OR status = 'cancelled'),
  ready INTEGER NOT NULL,                 -- 1: the task waits for neither a delay nor a dependency
  priority INTEGER NOT NULL DEFAULT 0,
  queued_at INTEGER NOT NULL,             -- all times are in milliseconds since 1970
  started_at INTEGER,
  completed_at INTEGER,
  not_before INTEGER,
  expires_at INTEGER,
  due_at INTEGER,                         -- when the supervisor must check the task, unless its state changes before
  attempt INTEGER NOT NULL DEFAULT 0,
  retries INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  interruptions INTEGER NOT NULL DEFAULT 0,
  timeout_ms INTEGER,
  result TEXT,
  result_truncated INTEGER NOT NULL DEFAULT 0,
  brief TEXT,                             -- the shortened result in events, if the result is long
  error TEXT,
  error_kind TEXT,
  exit_code INTEGER,
  signal INTEGER,
  pid INTEGER,
  slot INTEGER,
  claim INTEGER,
  owner INTEGER,
  leftovers INTEGER NOT NULL DEFAULT 0,
  progress TEXT,
  idle_ms INTEGER,                        -- set once per attempt, when it has given no sign of life for long
  verdict TEXT CHECK (verdict = 'completed' OR verdict = 'error' OR verdict = 'cancelled' OR verdict = 'pending'),
  verdict_text TEXT,
  verdict_kind TEXT,
  told INTEGER,                           -- the number of the batch with its last end
  CHECK ((status = 'running') = (slot IS NOT NULL)),
  CHECK (status <> 'running' OR claim IS NOT NULL),
  CHECK ((status = 'completed' OR status = 'error' OR status = 'cancelled') = (completed_at IS NOT NULL)),
  CHECK (verdict IS NULL OR status = 'running'),
  CHECK ((status = 'error') <= (error_kind IS NOT NULL))
) STRICT;

CREATE INDEX tasks_ready ON tasks (grp, priority DESC, number) WHERE status = 'pending' AND ready = 1;

CREATE INDEX tasks_unready ON tasks (grp) WHERE status = 'pending' AND ready = 0;

CREATE UNIQUE INDEX tasks_running ON tasks (grp, slot) WHERE status = 'running';

CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;

CREATE UNIQUE INDEX tasks_unique ON tasks (uniq) WHERE uniq IS NOT NULL AND status IN ('pending', 'running');

CREATE INDEX tasks_of_parent ON tasks (parent, number) WHERE parent IS NOT NULL;

CREATE INDEX tasks_unfinished ON tasks (parent) WHERE status IN ('pending', 'running');

CREATE INDEX tasks_ended ON tasks (completed_at) WHERE completed_at IS NOT NULL;

CREATE INDEX tasks_unwell ON tasks (status, number) WHERE status IN ('error', 'cancelled');

-- The input of a task. The long columns are last, so that their pages are read only if they are selected.
CREATE TABLE inputs (
  task INTEGER PRIMARY KEY REFERENCES tasks (number) ON DELETE CASCADE,
  digest TEXT,                            -- of the input, if the client chose the ID
  cwd TEXT NOT NULL,
  leave_children INTEGER,
  command TEXT,
  call TEXT,
  metadata TEXT,
  after TEXT,
  stdin_file TEXT,
  env TEXT,
  args TEXT,
  kwargs TEXT,
  stdin TEXT,
  prompt TEXT
) STRICT;

-- The small outputs of attempts; large ones are files.
CREATE TABLE outputs (
  claim INTEGER NOT NULL,
  stream TEXT NOT NULL,
  task INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
  data BLOB NOT NULL,
  PRIMARY KEY (claim, stream)
) STRICT;

CREATE INDEX outputs_of_task ON outputs (task);

-- A pending task that waits for another task. `over` is 1 once that task has ended, and `well` is 1 if it completed.
CREATE TABLE dependencies (
  blocker INTEGER NOT NULL,
  task INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
  any_end INTEGER NOT NULL,               -- 1: the task waits for any end
  over INTEGER NOT NULL DEFAULT 0,
  well INTEGER,
  PRIMARY KEY (blocker, task)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_of_task ON dependencies (task);

CREATE INDEX dependencies_over ON dependencies (task) WHERE over = 1;

-- The event log. Only the triggers below write it.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  type TEXT NOT NULL,
  at INTEGER NOT NULL,
  parent TEXT,
  body TEXT NOT NULL
) STRICT;

CREATE INDEX events_of_parent ON events (parent, seq) WHERE parent IS NOT NULL;

-- The ended tasks that are in no batch yet.
CREATE TABLE outbox (
  parent TEXT NOT NULL,
  seq INTEGER NOT NULL,
  task INTEGER NOT NULL,
  at INTEGER NOT NULL,
  snapshot TEXT,                          -- the brief of the ended task, if its row has changed since
  PRIMARY KEY (parent, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
  parent TEXT NOT NULL,
  consumer TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (parent, consumer)
) STRICT, WITHOUT ROWID;

-- The last deleted event of a session ('*': of all).
CREATE TABLE truncations (
  parent TEXT PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The counters of events and claims. The rows exist from the start, so that moving a counter is always an update. A claim
-- changes both, and writes only one page because they are in one table.
INSERT INTO sqlite_sequence (name, seq) VALUES ('events', 0), ('claims', 0);

-- The tasks of lists; `blocked`, `paused`, `full` and `busy` decide what a pending task waits for.
CREATE VIEW task_rows AS
  SELECT t.*, i.cwd, i.command, i.call, i.metadata, i.after,
    t.status = 'pending' AND EXISTS (SELECT 1 FROM dependencies d WHERE d.task = t.number) AS blocked,
    t.status = 'pending' AND g.paused AS paused,
    t.status = 'pending' AND g.most > 0
      AND (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.grp = t.grp) >= g.most AS full,
    (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.agent <> 'external') AS busy,
    (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
  FROM tasks t JOIN inputs i ON i.task = t.number LEFT JOIN groups g ON g.name = t.grp;

CREATE VIEW batches AS
  SELECT seq, parent, at, body FROM events WHERE type = 'background_tasks_notification';

CREATE TRIGGER move_refused BEFORE UPDATE OF status ON tasks
WHEN NOT EXISTS (SELECT 1 FROM moves WHERE was = OLD.status AND becomes = NEW.status)
BEGIN
  SELECT RAISE(ABORT, 'illegal move');
END;

CREATE TRIGGER task_queued AFTER INSERT ON tasks WHEN NEW.status = 'pending'
BEGIN
  UPDATE groups SET pending = pending + 1 WHERE name = NEW.grp;
END;

CREATE TRIGGER task_queued_again AFTER UPDATE OF status ON tasks WHEN NEW.status = 'pending'
BEGIN
  UPDATE groups SET pending = pending + 1 WHERE name = NEW.grp;
END;

CREATE TRIGGER task_unqueued AFTER UPDATE OF status ON tasks WHEN OLD.status = 'pending'
BEGIN
  UPDATE groups SET pending = pending - 1 WHERE name = OLD.grp;
END;

CREATE TRIGGER task_regrouped AFTER UPDATE OF grp ON tasks WHEN NEW.status = 'pending' AND OLD.status = 'pending' AND NEW.grp <> OLD.grp
BEGIN
  UPDATE groups SET pending = pending - 1 WHERE name = OLD.grp;
  UPDATE groups SET pending = pending + 1 WHERE name = NEW.grp;
END;

CREATE TRIGGER pending_task_deleted AFTER DELETE ON tasks WHEN OLD.status = 'pending'
BEGIN
  UPDATE groups SET pending = pending - 1 WHERE name = OLD.grp;
END;

CREATE TRIGGER task_started AFTER UPDATE OF status ON tasks WHEN NEW.status = 'running'
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES (
    'background_task_started', NEW.started_at, NEW.parent,
    json_object('taskId', NEW.id, 'sessionId', NEW.session, 'attempt', NEW.attempt));
END;

CREATE TRIGGER task_retrying AFTER UPDATE OF status ON tasks WHEN OLD.status = 'running' AND NEW.status = 'pending'
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES (
    'background_task_retrying', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), NEW.parent,
    json_object('taskId', NEW.id, 'attempt', OLD.attempt, 'error', NEW.error, 'errorKind', NEW.error_kind));
END;

CREATE TRIGGER task_ended AFTER UPDATE OF status ON tasks WHEN NEW.completed_at IS NOT NULL
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES (
    'background_task_completed', NEW.completed_at, NEW.parent,
    json_object('taskId', NEW.id, 'sessionId', NEW.session, 'status', NEW.status,
      'result', coalesce(NEW.brief, NEW.result), 'error', NEW.error, 'errorKind', NEW.error_kind));
  INSERT INTO outbox (seq, parent, task, at)
    SELECT last_insert_rowid(), NEW.parent, NEW.number, NEW.completed_at WHERE NEW.parent IS NOT NULL;
  UPDATE dependencies SET over = 1, well = (NEW.status = 'completed') WHERE blocker = NEW.number;
END;

CREATE TRIGGER task_stale AFTER UPDATE OF idle_ms ON tasks WHEN NEW.idle_ms IS NOT NULL AND OLD.idle_ms IS NULL
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES (
    'background_task_stale', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), NEW.parent,
    json_object('taskId', NEW.id, 'idleMs', NEW.idle_ms));
END;

CREATE TRIGGER batch_formed INSTEAD OF INSERT ON batches
BEGIN
  INSERT INTO events (type, at, parent, body) VALUES ('background_tasks_notification', NEW.at, NEW.parent, NEW.body);
  UPDATE tasks SET told = last_insert_rowid()
    WHERE number IN (SELECT task FROM outbox WHERE parent = NEW.parent AND seq <= NEW.seq);
  DELETE FROM outbox WHERE parent = NEW.parent AND seq <= NEW.seq;
END;
