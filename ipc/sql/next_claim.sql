-- A claim number that nobody ever had.
UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'claims' RETURNING seq
