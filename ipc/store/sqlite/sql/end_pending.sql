-- End a pending task with an error.
UPDATE tasks SET status = 'error', error_kind = :kind, error = :error, completed_at = :now, ready = 0, due_at = NULL
WHERE number = :number AND status = 'pending' AND ready <> 2
