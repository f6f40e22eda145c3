-- Return a task with all its columns.
SELECT r.*, i.prompt, i.args, i.kwargs FROM task_rows r JOIN inputs i ON i.task = r.number WHERE r.id = :id
