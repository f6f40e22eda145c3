-- Return a held task, which was not started, to the queue.
UPDATE tasks SET ready = 1, due_at = expires_at, owner = NULL, held = NULL, requested = NULL
WHERE number = :number AND status = 'pending' AND ready = 2 AND held = :claim
