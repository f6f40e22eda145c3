-- Return the highest claim of any task or output.
SELECT max(coalesce((SELECT max(claim) FROM tasks), 0), coalesce((SELECT max(claim) FROM outputs), 0))
