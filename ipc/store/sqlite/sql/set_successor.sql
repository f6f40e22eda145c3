-- Have a session's notices and launches go to another one.
INSERT INTO successors (parent, successor) VALUES (:parent, :successor) ON CONFLICT (parent) DO UPDATE SET successor = excluded.successor
