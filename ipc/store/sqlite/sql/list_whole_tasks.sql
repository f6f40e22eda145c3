-- Return tasks with their inputs, oldest first.
SELECT r.*, i.prompt, i.args, i.kwargs, i.env, i.launcher_env, i.secret_env, i.env_dropped, i.agent_args, i.stdin, i.stdin_file, i.leave_children,
  coalesce(i.after_any, (SELECT json_group_array(b.id) FROM dependencies d JOIN tasks b ON b.number = d.blocker
    WHERE d.task = r.number AND d.any_end)) AS after_any
FROM task_rows r JOIN inputs i ON i.task = r.number
WHERE r.number > :after ORDER BY r.number LIMIT :limit
