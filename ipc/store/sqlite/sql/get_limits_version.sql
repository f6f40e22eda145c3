-- Return a number that changes whenever limits or groups of keys change.
SELECT value FROM counters WHERE name = 'limits'
