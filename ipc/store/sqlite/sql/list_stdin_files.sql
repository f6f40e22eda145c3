-- The copies of files that tasks read.
SELECT stdin_file FROM inputs WHERE stdin_file IS NOT NULL
