-- A claim number that nobody ever had.
UPDATE counters SET value = value + 1 WHERE name = 'claim' RETURNING value
