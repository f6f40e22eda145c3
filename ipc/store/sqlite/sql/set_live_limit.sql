-- Set or clear the live limit of a group.
INSERT INTO groups (name, slot_limit, live) VALUES (:name, :default, :live) ON CONFLICT (name) DO UPDATE SET live = :live
