-- Make a session's notifications and launches go to another one.
INSERT INTO successors (parent, successor) VALUES (:parent, :successor) ON CONFLICT (parent) DO UPDATE SET successor = excluded.successor
