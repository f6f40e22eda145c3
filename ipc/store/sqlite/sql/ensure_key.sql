-- Insert a key with its group if it does not exist.
INSERT INTO keys (name, limit_group) VALUES (:key, :limit_group) ON CONFLICT (name) DO NOTHING
