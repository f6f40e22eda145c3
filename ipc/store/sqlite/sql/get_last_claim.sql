-- The last claim number that was given.
SELECT seq FROM sqlite_sequence WHERE name = 'claims'
