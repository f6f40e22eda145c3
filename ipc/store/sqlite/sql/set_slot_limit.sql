-- Note the limit in force.
UPDATE groups SET slot_limit = :slot_limit WHERE name = :name AND slot_limit <> :slot_limit
