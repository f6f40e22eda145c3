-- Return the last claim that was given.
SELECT seq FROM sqlite_sequence WHERE name = 'claims'
