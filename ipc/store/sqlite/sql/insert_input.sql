-- Insert the input of a task. Columns and values follow.
INSERT INTO inputs 