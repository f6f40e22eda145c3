-- Put a key's waiting tasks into its new group.
UPDATE tasks SET grp = :grp WHERE number IN (
  SELECT number FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :was AND key = :key
  UNION ALL SELECT number FROM tasks WHERE status = 'pending' AND ready = 0 AND grp = :was AND key = :key)
