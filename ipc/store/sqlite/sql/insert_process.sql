-- Enter a process of ours. Columns and values follow.
INSERT INTO processes 