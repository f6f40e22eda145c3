-- Set the session in which a client's process was last seen.
INSERT INTO clients (process, session, at) VALUES (:process, :session, :at)
ON CONFLICT (process) DO UPDATE SET session = excluded.session, at = excluded.at
