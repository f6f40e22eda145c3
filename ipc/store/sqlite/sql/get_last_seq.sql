-- Return the last number that was given to an event.
SELECT seq FROM sqlite_sequence WHERE name = 'events'
