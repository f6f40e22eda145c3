-- The second schema: sessions that change their ID.

-- Sessions whose notifications and launches go to another session, `heir`, which never has a row itself.
CREATE TABLE heirs (
  parent TEXT PRIMARY KEY,
  heir TEXT NOT NULL,
  CHECK (parent <> heir)
) STRICT, WITHOUT ROWID;

CREATE INDEX heirs_of ON heirs (heir);

-- The session in which each client's process was last seen.
CREATE TABLE clients (
  process TEXT PRIMARY KEY,
  session TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
