-- Keep a task as it ended, for the batch that will tell of it, before its row moves on.
UPDATE outbox SET snapshot = :snapshot WHERE parent = :parent AND task = :task AND snapshot IS NULL
