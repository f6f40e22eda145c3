-- Remember a concurrency key and its group.
INSERT INTO keys (name, grp) VALUES (:key, :grp) ON CONFLICT (name) DO NOTHING
