-- Return the successor of a session, which receives its notifications and launches.
SELECT successor FROM successors WHERE parent = :parent
