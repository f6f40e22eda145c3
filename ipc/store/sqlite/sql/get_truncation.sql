-- Up to where a parent's events ('*': anybody's) were pruned.
SELECT seq FROM truncations WHERE parent = :parent
