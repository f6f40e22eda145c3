-- Delete the listed tasks that ended before a time, with their rows in other tables.
DELETE FROM tasks WHERE number IN (SELECT value FROM json_each(:numbers)) AND completed_at < :before RETURNING number
