-- Tasks whose id starts so.
SELECT id FROM tasks WHERE id >= :from AND id < :to LIMIT 3
