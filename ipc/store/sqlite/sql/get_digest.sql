-- Return the digest of the input with which an ID was launched.
SELECT i.digest FROM tasks t JOIN inputs i ON i.task = t.number WHERE t.id = :id
