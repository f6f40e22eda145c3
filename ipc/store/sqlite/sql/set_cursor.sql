-- Acknowledge events. A cursor only moves forward.
INSERT INTO cursors (parent, consumer, seq) VALUES (:parent, :consumer, :seq)
ON CONFLICT (parent, consumer) DO UPDATE SET seq = max(seq, :seq) RETURNING seq
