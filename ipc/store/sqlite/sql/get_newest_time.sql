-- Return when the newest event happened.
SELECT at FROM events ORDER BY seq DESC LIMIT 1
