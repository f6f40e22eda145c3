-- Insert a group if it does not exist.
INSERT INTO groups (name, slot_limit) VALUES (:limit_group, :slot_limit) ON CONFLICT (name) DO NOTHING
