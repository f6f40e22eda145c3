-- Append a batch to the log, and remove its tasks from the outbox.
INSERT INTO batches (seq, parent, at, body) VALUES (:seq, :parent, :at, :body)
