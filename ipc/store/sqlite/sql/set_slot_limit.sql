-- Set the limit of a group that is in force.
UPDATE groups SET slot_limit = :slot_limit WHERE name = :name AND slot_limit <> :slot_limit
