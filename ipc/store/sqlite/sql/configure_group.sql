-- A group that the configuration names.
INSERT INTO groups (name, most, configured) VALUES (:name, :most, :most) ON CONFLICT (name) DO UPDATE SET configured = :most
