-- Mark a pending task as ready or not. After this, only its expiry can be due.
UPDATE tasks SET ready = :ready, due_at = expires_at WHERE number = :number AND status = 'pending' AND ready <> 2
