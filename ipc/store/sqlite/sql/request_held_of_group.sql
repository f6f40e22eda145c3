-- Ask the workers that hold tasks of a group (or, null, of any) to publish them.
UPDATE tasks SET requested = coalesce(requested, :now) WHERE ready = 2 AND owner >= 0 AND (:limit_group IS NULL OR limit_group = :limit_group)
RETURNING owner
