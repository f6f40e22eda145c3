-- Put a key into another group.
UPDATE keys SET grp = :grp WHERE name = :key
