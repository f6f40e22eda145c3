-- Return the next ready tasks of a group, with this key unless it is null, and their inputs.
SELECT t.number, t.id, t.parent, t.session, t.description, t.agent, t.model, t.attempt + 1, t.max_attempts, t.interruptions, t.timeout_ms,
  i.cwd, i.call, i.command, i.launcher_env, i.env, i.umask, i.interpreter, i.agent_args, i.args, i.kwargs, i.stdin, i.stdin_file, i.prompt, i.leave_children, i.resumes
FROM tasks t JOIN inputs i ON i.task = t.number
WHERE t.status = 'pending' AND t.ready = 1 AND t.limit_group = :limit_group AND (:key IS NULL OR t.key = :key)
ORDER BY t.priority DESC, t.number LIMIT :limit
