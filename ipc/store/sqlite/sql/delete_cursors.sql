-- Forget how far these parents read.
DELETE FROM cursors WHERE parent IN (SELECT value FROM json_each(:parents))
