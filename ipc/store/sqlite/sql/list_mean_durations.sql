-- Return the mean milliseconds of the completed attempts of each key, among the tasks that ended last.
SELECT key, AVG(completed_at - started_at) AS mean FROM (
  SELECT key, status, started_at, completed_at FROM tasks
  WHERE completed_at IS NOT NULL ORDER BY completed_at DESC LIMIT :limit
) WHERE status = 'completed' AND started_at IS NOT NULL GROUP BY key
