-- Give all tasks of a session to another one, which will receive their later ends.
UPDATE tasks SET parent = :successor WHERE parent = :parent
