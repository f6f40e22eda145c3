-- Remember up to where a parent's events ('*': anybody's) are gone.
INSERT INTO truncations (parent, seq) VALUES (:parent, :seq) ON CONFLICT (parent) DO UPDATE SET seq = max(seq, :seq)
