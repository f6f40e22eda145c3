-- Move the counter of the event log ahead; existing events keep their numbers.
UPDATE sqlite_sequence SET seq = seq + :by WHERE name = 'events'
