-- A group that tasks can be counted in.
INSERT INTO groups (name, slot_limit) VALUES (:limit_group, :slot_limit) ON CONFLICT (name) DO NOTHING
