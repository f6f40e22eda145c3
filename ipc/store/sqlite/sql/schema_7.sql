-- The seventh schema: the environment of a task, notifications of people, and lasting dependencies.

-- 'person' if the end of the task is notified by itself.
ALTER TABLE tasks ADD COLUMN notify TEXT;

ALTER TABLE inputs ADD COLUMN umask TEXT;

ALTER TABLE inputs ADD COLUMN interpreter TEXT;

-- The names of variables whose values are taken where the task runs.
ALTER TABLE inputs ADD COLUMN secret_env TEXT;

-- The variables that were taken from the launcher's environment. Null stands for variables that it does not have.
ALTER TABLE inputs ADD COLUMN launcher_env TEXT;

-- The names of the launcher's variables that the task does not get.
ALTER TABLE inputs ADD COLUMN env_dropped TEXT;

-- Further arguments of the agent's command.
ALTER TABLE inputs ADD COLUMN agent_args TEXT;

-- The tasks of `after` that may end in any way.
ALTER TABLE inputs ADD COLUMN after_any TEXT;

DROP VIEW task_rows;

-- The tasks of lists; `blocked`, `paused`, `full` and `busy` decide what a pending task waits for.
CREATE VIEW task_rows AS
  SELECT t.*, i.cwd, i.command, i.call, i.metadata, i.after, i.resumes, i.umask, i.interpreter,
    t.status = 'pending' AND EXISTS (SELECT 1 FROM dependencies d WHERE d.task = t.number) AS blocked,
    t.status = 'pending' AND g.paused AS paused,
    t.status = 'pending' AND g.slot_limit > 0
      AND (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.limit_group = t.limit_group) >= g.slot_limit AS full,
    (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.agent <> 'external') AS busy,
    (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
  FROM tasks t JOIN inputs i ON i.task = t.number LEFT JOIN groups g ON g.name = t.limit_group;
