-- Return the unfinished task that holds a unique name.
SELECT id FROM tasks WHERE unique_key = :unique_key AND unique_key IS NOT NULL AND status IN ('pending', 'running')
