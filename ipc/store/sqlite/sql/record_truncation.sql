-- Record the last deleted event of a session ('*': of any).
INSERT INTO truncations (parent, seq) VALUES (:parent, :seq) ON CONFLICT (parent) DO UPDATE SET seq = max(seq, :seq)
