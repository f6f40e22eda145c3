-- Return the highest number of any event.
SELECT coalesce(max(seq), 0) FROM events
