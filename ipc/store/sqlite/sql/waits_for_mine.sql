-- The group in which a pending task waits for the only slot there is, and a certain running task has it.
SELECT waiting.grp FROM tasks waiting JOIN tasks mine ON mine.grp = waiting.grp JOIN groups g ON g.name = waiting.grp
WHERE waiting.id = :id AND waiting.status = 'pending' AND mine.id = :mine AND mine.status = 'running' AND g.most = 1
