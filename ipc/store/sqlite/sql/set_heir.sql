-- Have a session's notices and launches go to another one.
INSERT INTO heirs (parent, heir) VALUES (:parent, :heir) ON CONFLICT (parent) DO UPDATE SET heir = excluded.heir
