-- Have what tasks wait for be over where it has ended, or is gone, without a move.
UPDATE dependencies SET over = 1,
  well = coalesce((SELECT t.status = 'completed' FROM tasks t WHERE t.number = dependencies.blocker), 1)
WHERE over = 0
  AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.number = dependencies.blocker AND t.status IN ('pending', 'running'))
