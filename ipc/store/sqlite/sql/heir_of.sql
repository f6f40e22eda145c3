-- To which session another one's notices and launches go, if they do.
SELECT heir FROM heirs WHERE parent = :parent
