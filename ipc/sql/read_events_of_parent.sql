-- One parent's events, in order.
SELECT seq, type, at, parent, body FROM events WHERE parent = :parent AND seq > :after ORDER BY seq LIMIT :most
