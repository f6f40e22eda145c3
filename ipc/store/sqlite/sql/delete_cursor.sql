-- Delete the cursor of one consumer of a session's events.
DELETE FROM cursors WHERE parent = :parent AND consumer = :consumer
