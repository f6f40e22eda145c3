-- Forget how far anybody read.
DELETE FROM cursors
