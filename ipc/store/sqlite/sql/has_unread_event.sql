-- Return a row if a session has events after a number.
SELECT EXISTS (SELECT 1 FROM events WHERE parent = :parent AND seq > :after)
