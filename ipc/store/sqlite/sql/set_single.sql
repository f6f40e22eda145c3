-- Let workers take one task at a time, or many.
UPDATE counters SET value = :single WHERE name = 'single' AND value <> :single
