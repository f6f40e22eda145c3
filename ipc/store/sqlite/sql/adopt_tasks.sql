-- Move all tasks of a session to another session, which is notified when they end.
UPDATE tasks SET parent = :successor WHERE parent = :parent
