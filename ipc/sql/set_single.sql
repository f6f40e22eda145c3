-- Whether workers take one task at a time of a group (or, null, of any).
UPDATE groups SET single = :single WHERE (:grp IS NULL OR name = :grp) AND single <> :single
