-- Let a task be claimed.
UPDATE tasks SET ready = :ready, due_at = expires_at WHERE number = :number AND status = 'pending' AND ready <> 2
