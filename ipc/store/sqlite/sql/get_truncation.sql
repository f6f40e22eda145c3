-- Return the last event of a session ('*': of any) that was deleted.
SELECT seq FROM truncations WHERE parent = :parent
