-- The last number the event log gave.
SELECT seq FROM sqlite_sequence WHERE name = 'events'
