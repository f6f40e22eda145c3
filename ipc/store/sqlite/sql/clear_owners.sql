-- Forget the owners of the running tasks: no process of before is known any more. Held tasks are settled as lost after this.
UPDATE tasks SET owner = NULL WHERE owner IS NOT NULL AND ready <> 2
