-- A group that tasks can be counted in.
INSERT INTO groups (name, most) VALUES (:grp, :most) ON CONFLICT (name) DO NOTHING
