-- Make another session receive a session's notifications and launches.
INSERT INTO successors (parent, successor) VALUES (:parent, :successor) ON CONFLICT (parent) DO UPDATE SET successor = excluded.successor
