-- A session stands for itself again.
DELETE FROM successors WHERE parent = :parent
