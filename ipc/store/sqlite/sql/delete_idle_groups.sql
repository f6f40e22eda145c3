-- Delete groups that have no unfinished task and no limit, and are not paused.
DELETE FROM groups WHERE name IN (
  SELECT name FROM groups WHERE configured IS NULL AND live IS NULL AND NOT paused AND pending = 0
    AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.status = 'running' AND t.limit_group = groups.name)
  LIMIT :limit)
