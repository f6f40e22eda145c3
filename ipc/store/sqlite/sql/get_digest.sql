-- The input under which an id was launched, as a digest.
SELECT i.digest FROM tasks t JOIN inputs i ON i.task = t.number WHERE t.id = :id
