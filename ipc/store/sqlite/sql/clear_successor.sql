-- Make a session receive its own notifications and launches again.
DELETE FROM successors WHERE parent = :parent
