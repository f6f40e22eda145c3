-- Parents of whom nothing is left but how far they read, and they had read everything.
SELECT t.parent FROM truncations t
WHERE t.parent > :after AND t.parent <> '*'
  AND t.seq <= (SELECT min(c.seq) FROM cursors c WHERE c.parent = t.parent)
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.parent = t.parent)
  AND NOT EXISTS (SELECT 1 FROM tasks k WHERE k.parent = t.parent)
ORDER BY t.parent LIMIT :limit
