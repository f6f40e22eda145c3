-- Accept a task: it exists from the commit on. Columns and values follow.
INSERT INTO tasks 