-- Move the event log's numbers ahead; events that are there keep theirs.
UPDATE sqlite_sequence SET seq = seq + :by WHERE name = 'events'
