-- Note the limit in force.
UPDATE groups SET most = :most WHERE name = :name AND most <> :most
