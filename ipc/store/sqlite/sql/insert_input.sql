-- Keep what a task was launched with. Columns and values follow.
INSERT INTO inputs 