-- Put a running task into another group, in a slot that is free there.
UPDATE tasks SET grp = :grp, slot = :slot WHERE number = :number AND status = 'running'
