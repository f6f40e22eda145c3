-- Events in order, from the oldest on, and whether each was told: acknowledged, too old to wait for, or for nobody in particular.
SELECT seq, parent, at, parent IS NULL OR at < :ancient
  OR seq <= coalesce((SELECT min(c.seq) FROM cursors c WHERE c.parent = e.parent), 0) AS told
FROM events e WHERE seq > :after ORDER BY seq LIMIT :most
