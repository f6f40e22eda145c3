-- Forget how far one consumer of a parent's events has read.
DELETE FROM cursors WHERE parent = :parent AND consumer = :consumer
