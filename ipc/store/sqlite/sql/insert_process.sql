-- Register a process. Columns and values follow.
INSERT INTO processes 