-- Return the group of a pending task if a given running task has the only slot of that group.
SELECT waiting.limit_group FROM tasks waiting JOIN tasks mine ON mine.limit_group = waiting.limit_group JOIN groups g ON g.name = waiting.limit_group
WHERE waiting.id = :id AND waiting.status = 'pending' AND mine.id = :mine AND mine.status = 'running' AND g.slot_limit = 1
