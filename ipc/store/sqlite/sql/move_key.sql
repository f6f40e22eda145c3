-- Put a key into another group.
UPDATE keys SET limit_group = :limit_group WHERE name = :key
