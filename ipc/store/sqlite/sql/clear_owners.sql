-- Clear the owners of running tasks, because no process is known. Held tasks are settled as lost afterwards.
UPDATE tasks SET owner = NULL WHERE owner IS NOT NULL AND ready <> 2
