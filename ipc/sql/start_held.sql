-- Make tasks that workers held running ones, in slots of their own: each may have been started.
UPDATE tasks SET status = 'running', slot = 1000000 + number, claim = held, owner = NULL, attempt = attempt + 1, started_at = :now,
  due_at = NULL, ready = 1, held = NULL, requested = NULL
WHERE ready = 2
