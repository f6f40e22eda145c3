BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'backburner','first_schema','2026-11-29 18:39:51.811369+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'backburner','second_schema','2026-11-29 18:39:51.816159+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'backburner','third_schema','2026-11-29 18:39:51.817406+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'backburner','fourth_schema','2026-11-29 18:39:51.818583+00:00');
CREATE TABLE clients (
  process TEXT PRIMARY KEY,
  session TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "counters" VALUES('limits',3);
CREATE TABLE cursors (
  parent TEXT NOT NULL,
  consumer TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (parent, consumer)
) STRICT, WITHOUT ROWID;
INSERT INTO "cursors" VALUES('p','default',8);
INSERT INTO "cursors" VALUES('p','model',8);
INSERT INTO "cursors" VALUES('p2','default',8);
INSERT INTO "cursors" VALUES('p2','model',0);
CREATE TABLE dependencies (
  blocker INTEGER NOT NULL,
  task INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
  any_end INTEGER NOT NULL,               -- 1: however it ends
  over INTEGER NOT NULL DEFAULT 0,
  well INTEGER,
  PRIMARY KEY (blocker, task)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  type TEXT NOT NULL,
  at INTEGER NOT NULL,
  parent TEXT,
  body TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'background_task_started',1795977593608,'p','{"taskId":"bg-a0e88f14-6dfe-467a-8da3-12bdbcd46ebd","sessionId":null,"attempt":1}');
INSERT INTO "events" VALUES(2,'background_task_completed',1795977593624,'p','{"taskId":"bg-a0e88f14-6dfe-467a-8da3-12bdbcd46ebd","sessionId":null,"status":"completed","result":"hi","error":null,"errorKind":null}');
INSERT INTO "events" VALUES(3,'background_task_started',1795977594382,NULL,'{"taskId":"bg-af050d90-38fe-469f-92e9-dc3c1bf0563a","sessionId":null,"attempt":1}');
INSERT INTO "events" VALUES(4,'background_task_completed',1795977594385,NULL,'{"taskId":"bg-af050d90-38fe-469f-92e9-dc3c1bf0563a","sessionId":null,"status":"error","result":null,"error":"exit code 3","errorKind":"exit"}');
INSERT INTO "events" VALUES(5,'background_tasks_notification',1795977594653,'p','{"taskIds": ["bg-a0e88f14-6dfe-467a-8da3-12bdbcd46ebd"], "source": "background-manager", "tasks": [{"id":"bg-a0e88f14-6dfe-467a-8da3-12bdbcd46ebd","agent":"command","concurrencyKey":"build","cwd":"/home/me/project","status":"completed","queuedAt":"2026-11-29T18:39:53.526Z","parentSessionId":"p","parentMessageId":null,"sessionId":null,"description":"build","model":null,"command":["echo","hi"],"call":null,"stopping":false,"waitingFor":null,"priority":0,"startedAt":"2026-11-29T18:39:53.608Z","completedAt":"2026-11-29T18:39:53.624Z","notBefore":null,"attempt":1,"maxAttempts":1,"timeoutMs":null,"uniqueKey":null,"after":[],"result":"hi","resultTruncated":false,"error":null,"errorKind":null,"exitCode":0,"signal":null,"pid":null,"slot":null,"leftovers":0,"progress":null,"resumes":null,"metadata":{}}], "count": 1, "completedCount": 1, "failedCount": 0, "cancelledCount": 0, "allComplete": true, "message": "1 background task completed successfully."}');
INSERT INTO "events" VALUES(6,'background_task_completed',1795977594986,NULL,'{"taskId":"bg-2a0cb060-ba14-4af2-b63c-5df3949ffd45","sessionId":null,"status":"error","result":null,"error":"A task that it comes after had already ended badly.","errorKind":"dependency"}');
INSERT INTO "events" VALUES(7,'background_task_started',1795977596597,NULL,'{"taskId":"bg-21dafeeb-03c1-4957-b5b6-752e6aacfec6","sessionId":null,"attempt":1}');
INSERT INTO "events" VALUES(8,'background_tasks_notification',1795977600036,'p2','{"taskIds": ["bg-a0e88f14-6dfe-467a-8da3-12bdbcd46ebd"], "source": "background-manager", "tasks": [{"id": "bg-a0e88f14-6dfe-467a-8da3-12bdbcd46ebd", "agent": "command", "concurrencyKey": "build", "cwd": "/home/me/project", "status": "completed", "queuedAt": "2026-11-29T18:39:53.526Z", "parentSessionId": "p", "parentMessageId": null, "sessionId": null, "description": "build", "model": null, "command": ["echo", "hi"], "call": null, "stopping": false, "waitingFor": null, "priority": 0, "startedAt": "2026-11-29T18:39:53.608Z", "completedAt": "2026-11-29T18:39:53.624Z", "notBefore": null, "attempt": 1, "maxAttempts": 1, "timeoutMs": null, "uniqueKey": null, "after": [], "result": "hi", "resultTruncated": false, "error": null, "errorKind": null, "exitCode": 0, "signal": null, "pid": null, "slot": null, "leftovers": 0, "progress": null, "resumes": null, "metadata": {}}], "count": 1, "completedCount": 1, "failedCount": 0, "cancelledCount": 0, "allComplete": true, "message": "1 background task completed successfully."}');
INSERT INTO "events" VALUES(9,'background_task_retrying',1795977601152,NULL,'{"taskId":"bg-21dafeeb-03c1-4957-b5b6-752e6aacfec6","attempt":1,"error":"It was interrupted: the supervisor went down.","errorKind":"interrupted"}');
CREATE TABLE groups (
  name TEXT PRIMARY KEY,
  most INTEGER NOT NULL CHECK (most >= 0),
  configured INTEGER,
  live INTEGER,
  paused INTEGER NOT NULL DEFAULT 0,
  pending INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO "groups" VALUES('build',1,NULL,1,0,0);
INSERT INTO "groups" VALUES('command',3,NULL,NULL,0,0);
INSERT INTO "groups" VALUES('db/*',2,NULL,2,0,1);
INSERT INTO "groups" VALUES('haiku',5,5,NULL,0,0);
INSERT INTO "groups" VALUES('long',3,NULL,NULL,0,1);
INSERT INTO "groups" VALUES('opus',2,2,NULL,0,0);
INSERT INTO "groups" VALUES('paused',3,NULL,NULL,1,1);
INSERT INTO "groups" VALUES('sonnet',3,3,NULL,0,0);
CREATE TABLE heirs (
  parent TEXT PRIMARY KEY,
  heir TEXT NOT NULL,
  CHECK (parent <> heir)
) STRICT, WITHOUT ROWID;
INSERT INTO "heirs" VALUES('p','p2');
CREATE TABLE inputs (
  task INTEGER PRIMARY KEY REFERENCES tasks (number) ON DELETE CASCADE,
  digest TEXT,                            -- of the launch's input, where the client chose the id
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
, resumes TEXT) STRICT;
INSERT INTO "inputs" VALUES(1,NULL,'/home/me/project',NULL,'["echo", "hi"]',NULL,NULL,NULL,NULL,'{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "inputs" VALUES(2,NULL,'/home/me/project',NULL,'["sh", "-c", "exit 3"]',NULL,NULL,NULL,NULL,'{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "inputs" VALUES(3,NULL,'/home/me/project',NULL,'["echo", "x"]',NULL,NULL,'["bg-af050d90-38fe-469f-92e9-dc3c1bf0563a"]',NULL,'{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "inputs" VALUES(4,NULL,'/home/me/project',NULL,'["echo", "later"]',NULL,'{"a": 1}',NULL,NULL,'{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "inputs" VALUES(5,NULL,'/home/me/project',NULL,'["echo", "paused"]',NULL,NULL,NULL,NULL,'{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "inputs" VALUES(6,NULL,'/home/me/project',NULL,'["sh", "-c", "sleep 1; [ \"$BACKBURNER_ATTEMPT\" = 1 ] && exec sleep 1000; echo again"]',NULL,NULL,NULL,NULL,'{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE keys (
  name TEXT PRIMARY KEY,
  grp TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "keys" VALUES('build','build');
INSERT INTO "keys" VALUES('command','command');
INSERT INTO "keys" VALUES('db/a','db/*');
INSERT INTO "keys" VALUES('long','long');
INSERT INTO "keys" VALUES('paused','paused');
CREATE TABLE moves (
  was TEXT NOT NULL,
  becomes TEXT NOT NULL,
  PRIMARY KEY (was, becomes)
) STRICT, WITHOUT ROWID;
INSERT INTO "moves" VALUES('cancelled','pending');
INSERT INTO "moves" VALUES('error','pending');
INSERT INTO "moves" VALUES('pending','cancelled');
INSERT INTO "moves" VALUES('pending','error');
INSERT INTO "moves" VALUES('pending','running');
INSERT INTO "moves" VALUES('running','cancelled');
INSERT INTO "moves" VALUES('running','completed');
INSERT INTO "moves" VALUES('running','error');
INSERT INTO "moves" VALUES('running','pending');
CREATE TABLE outbox (
  parent TEXT NOT NULL,
  seq INTEGER NOT NULL,
  task INTEGER NOT NULL,
  at INTEGER NOT NULL,
  snapshot TEXT,                          -- the task as it ended, where its row has moved on since
  PRIMARY KEY (parent, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE outputs (
  claim INTEGER NOT NULL,
  stream TEXT NOT NULL,
  task INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
  data BLOB NOT NULL,
  PRIMARY KEY (claim, stream)
) STRICT;
INSERT INTO "outputs" VALUES(1,'stdout',1,X'68690A');
CREATE TABLE processes (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  role TEXT NOT NULL,
  pid INTEGER NOT NULL,
  ticks INTEGER NOT NULL,
  boot TEXT NOT NULL,
  pidns TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT;
CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "settings" VALUES('boot','3aabf281-2f35-4bc3-bc22-cafcdc252bc3');
INSERT INTO "settings" VALUES('config','{"default_agent": "", "default_concurrency": 3, "max_workers": 16, "max_tasks_per_parent": 0, "autostart": false, "polling_interval_ms": 2000, "stability_threshold": 3, "min_stability_time_ms": 10000, "progress_interval_ms": 5000, "stale_timeout_ms": 2700000, "stale_action": "notify", "output_limit_mb": 64, "notification_batch_window_ms": 1000, "notification_max_batch": 5, "max_queue_wait_s": 0, "task_timeout_s": 0, "retry_base_ms": 1000, "retry_max_ms": 300000, "shutdown_grace_s": 30, "kill_grace_s": 5, "worker_idle_s": 10, "durability": "full", "retention_days": 30, "pass_env": [], "model_concurrency": {"opus": 2, "sonnet": 3, "haiku": 5}, "agents": {}}');
INSERT INTO "settings" VALUES('default_concurrency','3');
INSERT INTO "settings" VALUES('log','713bc06e-ddc7-47a5-beba-2c8ec0d96c03');
INSERT INTO "settings" VALUES('max_workers','16');
INSERT INTO "settings" VALUES('sources','[]');
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
    CHECK (status IN ('pending', 'running', 'completed', 'error', 'cancelled')),
  ready INTEGER NOT NULL,                 -- 1: neither a delay nor a dependency is in the way
  priority INTEGER NOT NULL DEFAULT 0,
  queued_at INTEGER NOT NULL,             -- all times: milliseconds since 1970
  started_at INTEGER,
  completed_at INTEGER,
  not_before INTEGER,
  expires_at INTEGER,
  due_at INTEGER,                         -- when the supervisor must look at it, if nothing happens before
  attempt INTEGER NOT NULL DEFAULT 0,
  retries INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  interruptions INTEGER NOT NULL DEFAULT 0,
  timeout_ms INTEGER,
  result TEXT,
  result_truncated INTEGER NOT NULL DEFAULT 0,
  brief TEXT,                             -- the result as events tell it, where that is shorter
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
  idle_ms INTEGER,                        -- set once per attempt, when it gave no sign of life for long
  verdict TEXT CHECK (verdict IN ('completed', 'error', 'cancelled', 'pending')),
  verdict_text TEXT,
  verdict_kind TEXT,
  told INTEGER, progress_at INTEGER,                           -- the number of the batch that told of its last end
  CHECK ((status = 'running') = (slot IS NOT NULL)),
  CHECK (status <> 'running' OR claim IS NOT NULL),
  CHECK ((status IN ('completed', 'error', 'cancelled')) = (completed_at IS NOT NULL)),
  CHECK (verdict IS NULL OR status = 'running'),
  CHECK ((status = 'error') <= (error_kind IS NOT NULL))
) STRICT;
INSERT INTO "tasks" VALUES(1,'bg-a0e88f14-6dfe-467a-8da3-12bdbcd46ebd','p2',NULL,NULL,'build','command',NULL,'build','build',NULL,'completed',0,0,1795977593526,1795977593608,1795977593624,NULL,NULL,NULL,1,0,1,0,NULL,'hi',0,NULL,NULL,NULL,0,NULL,NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,NULL,5,NULL);
INSERT INTO "tasks" VALUES(2,'bg-af050d90-38fe-469f-92e9-dc3c1bf0563a',NULL,NULL,NULL,NULL,'command',NULL,'command','command',NULL,'error',0,0,1795977594359,1795977594382,1795977594385,NULL,NULL,NULL,1,0,1,0,NULL,NULL,0,NULL,'exit code 3','exit',3,NULL,NULL,NULL,2,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(3,'bg-2a0cb060-ba14-4af2-b63c-5df3949ffd45',NULL,NULL,NULL,'after','command',NULL,'command','command',NULL,'error',0,0,1795977594984,NULL,1795977594986,NULL,NULL,NULL,0,0,1,0,NULL,NULL,0,NULL,'A task that it comes after had already ended badly.','dependency',NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(4,'bg-3ef0c2fa-4ea7-46da-8619-e30e42ed2b52',NULL,NULL,NULL,NULL,'command',NULL,'db/a','db/*','nightly','pending',0,0,1795977595317,NULL,NULL,1795981195317,NULL,1795981195317,0,2,3,0,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(5,'bg-a6b934b0-35ef-49db-ac1f-588deba606fb','q',NULL,NULL,NULL,'command',NULL,'paused','paused',NULL,'pending',1,0,1795977596148,NULL,NULL,NULL,NULL,NULL,0,0,1,0,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "tasks" VALUES(6,'bg-21dafeeb-03c1-4957-b5b6-752e6aacfec6',NULL,NULL,NULL,NULL,'command',NULL,'long','long',NULL,'pending',1,0,1795977596566,1795977596597,NULL,NULL,NULL,NULL,0,0,1,0,NULL,NULL,0,NULL,'It was interrupted: the supervisor went down.','interrupted',NULL,NULL,NULL,NULL,3,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE truncations (
  parent TEXT PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX tasks_ready ON tasks (grp, priority DESC, number) WHERE status = 'pending' AND ready = 1;
CREATE INDEX tasks_unready ON tasks (grp) WHERE status = 'pending' AND ready = 0;
CREATE UNIQUE INDEX tasks_running ON tasks (grp, slot) WHERE status = 'running';
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX tasks_unique ON tasks (uniq) WHERE uniq IS NOT NULL AND status IN ('pending', 'running');
CREATE INDEX tasks_of_parent ON tasks (parent, number) WHERE parent IS NOT NULL;
CREATE INDEX tasks_unfinished ON tasks (parent) WHERE status IN ('pending', 'running');
CREATE INDEX tasks_ended ON tasks (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX tasks_unwell ON tasks (status, number) WHERE status IN ('error', 'cancelled');
CREATE INDEX outputs_of_task ON outputs (task);
CREATE INDEX dependencies_of_task ON dependencies (task);
CREATE INDEX dependencies_over ON dependencies (task) WHERE over = 1;
CREATE INDEX events_of_parent ON events (parent, seq) WHERE parent IS NOT NULL;
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
CREATE INDEX heirs_of ON heirs (heir);
CREATE VIEW task_rows AS
  SELECT t.*, i.cwd, i.command, i.call, i.metadata, i.after, i.resumes,
    t.status = 'pending' AND EXISTS (SELECT 1 FROM dependencies d WHERE d.task = t.number) AS blocked,
    t.status = 'pending' AND g.paused AS paused,
    t.status = 'pending' AND g.most > 0
      AND (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.grp = t.grp) >= g.most AS full,
    (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.agent <> 'external') AS busy,
    (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
  FROM tasks t JOIN inputs i ON i.task = t.number LEFT JOIN groups g ON g.name = t.grp;
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
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',9);
INSERT INTO "sqlite_sequence" VALUES('claims',3);
INSERT INTO "sqlite_sequence" VALUES('processes',3);
INSERT INTO "sqlite_sequence" VALUES('tasks',6);
COMMIT;
