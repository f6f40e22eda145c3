-- Have all tasks of a parent be another one's: their later ends are told there.
UPDATE tasks SET parent = :successor WHERE parent = :parent
