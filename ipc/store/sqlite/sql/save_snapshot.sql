-- Keep the brief of an ended task for its batch, before a retry changes the row.
UPDATE outbox SET snapshot = :snapshot WHERE parent = :parent AND task = :task AND snapshot IS NULL
