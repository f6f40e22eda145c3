-- Delete the cursors of sessions.
DELETE FROM cursors WHERE parent IN (SELECT value FROM json_each(:parents))
