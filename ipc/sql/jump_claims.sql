-- Move the claim counter ahead.
UPDATE counters SET value = value + :by WHERE name = 'claim'
