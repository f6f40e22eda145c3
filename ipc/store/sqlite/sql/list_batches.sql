-- A parent's batches after a number, in order.
SELECT seq, body FROM batches WHERE parent = :parent AND seq > :after ORDER BY seq
