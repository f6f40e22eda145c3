-- Return the first remaining event after a number.
SELECT min(seq) FROM events WHERE seq > :after AND (:parent = '*' OR parent = :parent)
