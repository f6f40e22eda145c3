-- Record the verdict on a running task. The first verdict counts, but any other verdict may override a retry.
UPDATE tasks SET verdict = :verdict, verdict_text = :text, verdict_kind = :kind, brief = :brief, result_truncated = :truncated
WHERE number = :number AND status = 'running' AND claim = :claim AND (verdict IS NULL OR (verdict = 'pending' AND :verdict <> 'pending'))
