-- Remember a concurrency key and its group.
INSERT INTO keys (name, limit_group) VALUES (:key, :limit_group) ON CONFLICT (name) DO NOTHING
