-- Delete keys whose group is deleted.
DELETE FROM keys WHERE name IN (SELECT name FROM keys WHERE limit_group NOT IN (SELECT name FROM groups) LIMIT :limit)
