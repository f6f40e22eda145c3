-- A limit that was set while running, or none.
INSERT INTO groups (name, slot_limit, live) VALUES (:name, :default, :live) ON CONFLICT (name) DO UPDATE SET live = :live
