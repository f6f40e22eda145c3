-- Every group that has a limit of its own, configured or live.
SELECT name, configured, live FROM groups WHERE configured IS NOT NULL OR live IS NOT NULL
