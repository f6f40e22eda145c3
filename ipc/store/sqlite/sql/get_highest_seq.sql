-- The highest number of any event that is there.
SELECT coalesce(max(seq), 0) FROM events
