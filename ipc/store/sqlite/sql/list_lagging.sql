-- Return consumers that have not acknowledged an old event.
SELECT parent, consumer FROM cursors AS c
WHERE EXISTS (SELECT 1 FROM events AS e WHERE e.parent = c.parent AND e.seq > c.seq AND e.at < :before)
ORDER BY parent, consumer LIMIT :limit
