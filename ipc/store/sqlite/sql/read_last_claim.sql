-- The last claim number that was given, before the numbers of two databases are compared.
SELECT seq FROM sqlite_sequence WHERE name = 'claims'
