-- Return the last event of a session that a consumer has acknowledged.
SELECT seq FROM cursors WHERE parent = :parent AND consumer = :consumer
