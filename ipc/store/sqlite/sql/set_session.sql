-- Remember which session a client's process is seen with now.
INSERT INTO clients (process, session, at) VALUES (:process, :session, :at)
ON CONFLICT (process) DO UPDATE SET session = excluded.session, at = excluded.at
