-- Change the version of the limits, so that processes read them again.
UPDATE counters SET value = value + 1 WHERE name = 'limits'
