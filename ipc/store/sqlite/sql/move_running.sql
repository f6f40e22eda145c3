-- Put a running task into another group, in a slot that is free there.
UPDATE tasks SET limit_group = :limit_group, slot = :slot WHERE number = :number AND status = 'running'
