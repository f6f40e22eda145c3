-- Return a task with all its columns.
SELECT r.*, i.prompt, i.args, i.kwargs, i.env AS env, i.launcher_env, i.secret_env, i.env_dropped FROM task_rows r JOIN inputs i ON i.task = r.number WHERE r.id = :id
