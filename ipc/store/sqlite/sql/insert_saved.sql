-- Write a task back as it was saved: it is no move, so no event is written. Columns and values follow.
INSERT INTO tasks 