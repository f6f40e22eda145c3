-- The oldest ends of a parent that are in no batch yet: how each ended, and its brief, as `Task.brief` has it.
SELECT o.seq, t.id, coalesce(json_extract(o.snapshot, '$.status'), t.status) AS status, coalesce(json(o.snapshot), json_object(
  'id', t.id, 'agent', t.agent, 'concurrencyKey', t.key, 'cwd', i.cwd, 'status', t.status,
  'queuedAt', strftime('%Y-%m-%dT%H:%M:%fZ', t.queued_at / 1000.0, 'unixepoch'),
  'parentSessionId', t.parent, 'parentMessageId', t.message, 'sessionId', t.session, 'description', t.description,
  'model', t.model, 'command', json(i.command), 'call', i.call, 'stopping', json('false'), 'waitingFor', NULL,
  'priority', t.priority,
  'startedAt', strftime('%Y-%m-%dT%H:%M:%fZ', t.started_at / 1000.0, 'unixepoch'),
  'completedAt', strftime('%Y-%m-%dT%H:%M:%fZ', t.completed_at / 1000.0, 'unixepoch'),
  'notBefore', strftime('%Y-%m-%dT%H:%M:%fZ', t.not_before / 1000.0, 'unixepoch'),
  'attempt', t.attempt, 'maxAttempts', t.max_attempts, 'timeoutMs', t.timeout_ms, 'uniqueKey', t.unique_key,
  'after', json(coalesce(i.after, '[]')), 'result', coalesce(t.brief, t.result),
  'resultTruncated', json(iif(t.result_truncated OR t.brief IS NOT NULL, 'true', 'false')),
  'error', t.error, 'errorKind', t.error_kind, 'exitCode', t.exit_code, 'signal', t.signal, 'pid', t.pid, 'slot', t.slot,
  'leftovers', t.leftovers, 'progress', t.progress, 'resumes', i.resumes, 'metadata', json(coalesce(i.metadata, '{}'))
)) AS brief
FROM outbox o JOIN tasks t ON t.number = o.task JOIN inputs i ON i.task = o.task
WHERE o.parent = :parent ORDER BY o.seq LIMIT :limit
