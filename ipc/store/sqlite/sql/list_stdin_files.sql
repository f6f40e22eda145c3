-- Return the copied input files of all tasks.
SELECT stdin_file FROM inputs WHERE stdin_file IS NOT NULL
