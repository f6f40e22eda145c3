-- Events of all, in order.
SELECT seq, type, at, parent, body FROM events WHERE seq > :after ORDER BY seq LIMIT :most
