-- The number of the newest event that is there.
SELECT max(seq) FROM events
