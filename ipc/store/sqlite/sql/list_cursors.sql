-- Return the cursor of each consumer of a session's events.
SELECT consumer, seq FROM cursors WHERE parent = :parent
