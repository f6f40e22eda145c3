-- When a process entered itself.
SELECT since FROM processes WHERE role = :role AND pid = :pid ORDER BY number DESC LIMIT 1
