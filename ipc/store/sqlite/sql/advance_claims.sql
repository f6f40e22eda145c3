-- Move the claim counter ahead.
UPDATE sqlite_sequence SET seq = seq + :by WHERE name = 'claims'
