-- Forget up to where the events of these parents are gone.
DELETE FROM truncations WHERE parent IN (SELECT value FROM json_each(:parents))
