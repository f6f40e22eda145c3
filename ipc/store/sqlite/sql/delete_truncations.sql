-- Delete the records of truncation of sessions.
DELETE FROM truncations WHERE parent IN (SELECT value FROM json_each(:parents))
