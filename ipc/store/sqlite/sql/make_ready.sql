-- Mark a pending task as ready or not; only its expiry is due after this.
UPDATE tasks SET ready = :ready, due_at = expires_at WHERE number = :number AND status = 'pending' AND ready <> 2
