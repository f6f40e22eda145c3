-- Return the session that receives another one's notifications and launches, if it has a successor.
SELECT successor FROM successors WHERE parent = :parent
