-- How far each consumer of a parent's events has read.
SELECT consumer, seq FROM cursors WHERE parent = :parent
