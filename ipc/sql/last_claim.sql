-- The last claim number that was given.
SELECT value FROM counters WHERE name = 'claim'
