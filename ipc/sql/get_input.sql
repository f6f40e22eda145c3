-- What a task was launched with.
SELECT cwd, leave_children, command, call, stdin_file, env, args, kwargs, stdin, prompt, resumes FROM inputs WHERE task = :task
