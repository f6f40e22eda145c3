-- Return the number of the newest event.
SELECT max(seq) FROM events
