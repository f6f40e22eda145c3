-- Delete keys whose group does not exist any longer.
DELETE FROM keys WHERE name IN (SELECT name FROM keys WHERE limit_group NOT IN (SELECT name FROM groups) LIMIT :limit)
