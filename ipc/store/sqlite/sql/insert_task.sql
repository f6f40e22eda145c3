-- Accept a task. Columns and values follow.
INSERT INTO tasks 