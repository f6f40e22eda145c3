-- Forget those of these tasks that have still ended before a time, with all that belongs to them.
DELETE FROM tasks WHERE number IN (SELECT value FROM json_each(:numbers)) AND completed_at < :before RETURNING number
