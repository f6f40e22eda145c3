-- Return the batches of a session that a consumer has not acknowledged, in order.
SELECT seq, body FROM batches
WHERE parent = :parent AND seq > coalesce((SELECT seq FROM cursors WHERE parent = :parent AND consumer = :consumer), 0)
ORDER BY seq LIMIT :limit
