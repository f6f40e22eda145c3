-- Return the tasks with these numbers, and the start of their prompts.
SELECT r.*, (SELECT substr(i.prompt, 1, 400) FROM inputs i WHERE i.task = r.number) AS prompt
FROM task_rows r WHERE r.number IN (SELECT value FROM json_each(:numbers))
