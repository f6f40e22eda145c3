-- Move a running task to a free slot of another group.
UPDATE tasks SET limit_group = :limit_group, slot = :slot WHERE number = :number AND status = 'running'
