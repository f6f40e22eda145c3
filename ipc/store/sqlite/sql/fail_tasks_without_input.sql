-- Fail the pending tasks whose input was lost with a damaged database: they have no folder to run in.
UPDATE tasks SET status = 'error', error_kind = 'lost', error = 'Its input was lost with a damaged database.', completed_at = :now,
  ready = 0, due_at = NULL
WHERE status = 'pending' AND ready <> 2 AND number IN (SELECT task FROM inputs WHERE cwd = '')
