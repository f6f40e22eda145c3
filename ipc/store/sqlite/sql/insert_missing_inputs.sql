-- Give tasks whose input was lost an empty one: they cannot run, but they are seen.
INSERT INTO inputs (task, cwd) SELECT number, '' FROM tasks WHERE number NOT IN (SELECT task FROM inputs)
