-- Return sessions that have only cursors left, and in which every consumer has read every event.
SELECT t.parent FROM truncations t
WHERE t.parent > :after AND t.parent <> '*'
  AND t.seq <= (SELECT min(c.seq) FROM cursors c WHERE c.parent = t.parent)
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.parent = t.parent)
  AND NOT EXISTS (SELECT 1 FROM tasks k WHERE k.parent = t.parent)
ORDER BY t.parent LIMIT :limit
