-- Insert an empty input for tasks whose input was lost, so that they can be listed.
INSERT INTO inputs (task, cwd) SELECT number, '' FROM tasks WHERE number NOT IN (SELECT task FROM inputs)
