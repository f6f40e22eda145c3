-- Put a key's waiting tasks into its new group.
UPDATE tasks SET grp = :grp WHERE status = 'pending' AND ready IN (0, 1) AND grp = :was AND key = :key
