-- Return the ended tasks, the one that ended last first.
SELECT number FROM tasks
WHERE completed_at IS NOT NULL AND (:parent IS NULL OR parent = :parent) AND {matches}
ORDER BY completed_at DESC, number DESC LIMIT :limit
