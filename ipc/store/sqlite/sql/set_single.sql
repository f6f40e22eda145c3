-- Whether workers take one task at a time.
UPDATE counters SET value = :single WHERE name = 'single' AND value <> :single
