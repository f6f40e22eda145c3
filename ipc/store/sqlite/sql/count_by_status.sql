-- Return the number of tasks of each status.
SELECT status, count(*) AS tasks FROM tasks WHERE (:parent IS NULL OR parent = :parent) AND {matches} GROUP BY status
