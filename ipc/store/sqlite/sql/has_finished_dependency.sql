-- Return a row if a dependency has ended and is not resolved yet.
SELECT 1 FROM dependencies WHERE finished = 1 LIMIT 1
