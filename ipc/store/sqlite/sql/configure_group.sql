-- Set the configured limit of a group.
INSERT INTO groups (name, slot_limit, configured) VALUES (:name, :slot_limit, :slot_limit) ON CONFLICT (name) DO UPDATE SET configured = :slot_limit
