-- Return the inputs of tasks, which lists omit.
SELECT t.id, i.prompt, i.args, i.kwargs, i.env, i.launcher_env, i.env_dropped FROM tasks t JOIN inputs i ON i.task = t.number
WHERE t.id IN (SELECT value FROM json_each(:ids))
