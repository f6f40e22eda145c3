-- Keep what a task was launched with.
INSERT INTO inputs (task, digest, cwd, leave_children, command, call, metadata, after, stdin_file, env, args, kwargs, stdin, prompt,
  resumes)
VALUES (:task, :digest, :cwd, :leave_children, :command, :call, :metadata, :after, :stdin_file, :env, :args, :kwargs, :stdin, :prompt,
  :resumes)
