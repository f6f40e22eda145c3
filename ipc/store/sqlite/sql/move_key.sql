-- Move a key to another group.
UPDATE keys SET limit_group = :limit_group WHERE name = :key
