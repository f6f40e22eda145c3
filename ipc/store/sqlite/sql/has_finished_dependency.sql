-- Whether a dependency waits to be taken note of.
SELECT 1 FROM dependencies WHERE finished = 1 LIMIT 1
