-- Finish the dependencies on tasks that have ended without a trigger (imported tasks) or were deleted.
UPDATE dependencies SET finished = 1,
  succeeded = coalesce((SELECT t.status = 'completed' FROM tasks t WHERE t.number = dependencies.blocker), 1)
WHERE finished = 0
  AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.number = dependencies.blocker AND t.status IN ('pending', 'running'))
