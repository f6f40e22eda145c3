-- The last number the event log gave, before the numbers of two databases are compared.
SELECT seq FROM sqlite_sequence WHERE name = 'events'
