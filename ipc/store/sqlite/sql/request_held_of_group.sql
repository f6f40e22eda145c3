-- Request that workers publish the tasks they hold of a group (null: of any).
UPDATE tasks SET requested = coalesce(requested, :now) WHERE ready = 2 AND owner >= 0 AND (:limit_group IS NULL OR limit_group = :limit_group)
RETURNING owner
