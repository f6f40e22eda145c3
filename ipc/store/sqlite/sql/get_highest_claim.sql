-- The highest claim number that a task or an output has.
SELECT max(coalesce((SELECT max(claim) FROM tasks), 0), coalesce((SELECT max(claim) FROM outputs), 0))
