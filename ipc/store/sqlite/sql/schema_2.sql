-- The second schema: sessions that change their id.

-- Whose notices and launches go to another session now. An heir has no heir itself: chains are shortened when made.
CREATE TABLE heirs (
  parent TEXT PRIMARY KEY,
  heir TEXT NOT NULL,
  CHECK (parent <> heir)
) STRICT, WITHOUT ROWID;

CREATE INDEX heirs_of ON heirs (heir);

-- Which session a client's process was last seen with.
CREATE TABLE clients (
  process TEXT PRIMARY KEY,
  session TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
