-- To which session another one's notices and launches go, if they do.
SELECT successor FROM successors WHERE parent = :parent
