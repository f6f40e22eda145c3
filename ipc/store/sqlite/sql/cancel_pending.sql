-- Cancel a pending task.
UPDATE tasks SET status = 'cancelled', completed_at = :now, ready = 0, due_at = NULL WHERE number = :number AND status = 'pending' AND ready <> 2
