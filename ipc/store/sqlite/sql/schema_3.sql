-- The third schema: tasks that continue the session of another task.

ALTER TABLE inputs ADD COLUMN resumes TEXT;

DROP VIEW task_rows;

-- The tasks of lists; `blocked`, `paused`, `full` and `busy` decide what a pending task waits for.
CREATE VIEW task_rows AS
  SELECT t.*, i.cwd, i.command, i.call, i.metadata, i.after, i.resumes,
    t.status = 'pending' AND EXISTS (SELECT 1 FROM dependencies d WHERE d.task = t.number) AS blocked,
    t.status = 'pending' AND g.paused AS paused,
    t.status = 'pending' AND g.most > 0
      AND (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.grp = t.grp) >= g.most AS full,
    (SELECT count(*) FROM tasks r WHERE r.status = 'running' AND r.agent <> 'external') AS busy,
    (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'max_workers') AS workers
  FROM tasks t JOIN inputs i ON i.task = t.number LEFT JOIN groups g ON g.name = t.grp;
