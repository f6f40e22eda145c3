-- Return the time at which a process was registered.
SELECT since FROM processes WHERE role = :role AND pid = :pid ORDER BY number DESC LIMIT 1
