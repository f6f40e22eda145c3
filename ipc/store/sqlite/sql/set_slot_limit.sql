-- Set the limit in force of a group.
UPDATE groups SET slot_limit = :slot_limit WHERE name = :name AND slot_limit <> :slot_limit
