-- Ask the worker that holds a task to publish it.
UPDATE tasks SET requested = coalesce(requested, :now) WHERE number = :number AND ready = 2
