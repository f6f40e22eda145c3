-- Request that the worker of a held task publishes it.
UPDATE tasks SET requested = coalesce(requested, :now) WHERE number = :number AND ready = 2
