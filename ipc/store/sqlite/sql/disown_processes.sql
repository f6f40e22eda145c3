-- Let every registered process count as dead: it belongs to the home from which this database was copied.
UPDATE processes SET boot = :boot
