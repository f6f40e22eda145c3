-- Return the batches of a session after a number, in order.
SELECT seq, body FROM batches WHERE parent = :parent AND seq > :after ORDER BY seq
