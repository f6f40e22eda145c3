-- Tell everyone that limits changed.
UPDATE counters SET value = value + 1 WHERE name = 'limits'
