-- Return the tasks that a task comes after, as launched, and those of them that may end in any way.
SELECT after, after_any FROM inputs WHERE task = :task
