-- The fifth schema: a placeholder, to be replaced by the real one.

CREATE TABLE placeholder (name TEXT PRIMARY KEY) STRICT;
