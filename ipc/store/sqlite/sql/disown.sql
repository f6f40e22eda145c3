-- A session stands for itself again.
DELETE FROM heirs WHERE parent = :parent
