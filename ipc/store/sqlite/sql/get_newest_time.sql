-- Return the time of the newest event.
SELECT at FROM events ORDER BY seq DESC LIMIT 1
