-- The unfinished task that holds a unique name.
SELECT id FROM tasks WHERE uniq = :uniq AND uniq IS NOT NULL AND status IN ('pending', 'running')
