-- Tell a parent of ended tasks: the notice goes into the log, the ends leave the outbox.
INSERT INTO batches (seq, parent, at, body) VALUES (:seq, :parent, :at, :body)
