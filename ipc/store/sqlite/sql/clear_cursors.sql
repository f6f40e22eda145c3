-- Delete all cursors.
DELETE FROM cursors
