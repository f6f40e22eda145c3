-- Return every group with its own limit, configured or live.
SELECT name, configured, live FROM groups WHERE configured IS NOT NULL OR live IS NOT NULL
