-- Record, for each session with unread events, that they are deleted.
INSERT INTO truncations (parent, seq)
SELECT e.parent, max(e.seq) FROM events e WHERE e.parent IS NOT NULL
  AND e.seq > coalesce((SELECT min(c.seq) FROM cursors c WHERE c.parent = e.parent), 0)
GROUP BY e.parent
ON CONFLICT (parent) DO UPDATE SET seq = max(seq, excluded.seq)
