-- Record, once per attempt, that a running task has given no sign of life.
UPDATE tasks SET idle_ms = :idle_ms WHERE number = :number AND status = 'running' AND claim = :claim AND idle_ms IS NULL
