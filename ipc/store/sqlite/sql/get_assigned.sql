-- Return the running task of a worker: its claim, group, slot and start, then the columns of `list_ready`.
SELECT t.claim, t.limit_group, t.slot, t.started_at,
  t.number, t.id, t.parent, t.session, t.description, t.agent, t.model, t.attempt, t.max_attempts, t.interruptions, t.timeout_ms,
  i.cwd, i.call, i.command, i.launcher_env, i.env, i.umask, i.interpreter, i.agent_args, i.args, i.kwargs, i.stdin, i.stdin_file, i.prompt, i.leave_children, i.resumes
FROM tasks t JOIN inputs i ON i.task = t.number WHERE t.status = 'running' AND t.owner = :owner
