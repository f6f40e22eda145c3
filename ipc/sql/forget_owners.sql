-- Forget who had the running tasks: no process of before is known any more.
UPDATE tasks SET owner = NULL WHERE owner IS NOT NULL
