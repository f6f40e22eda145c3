-- Decide how a running task ends. The first verdict counts, but for a retry, which a later one may overrule.
UPDATE tasks SET verdict = :verdict, verdict_text = :text, verdict_kind = :kind, brief = :brief, result_truncated = :truncated
WHERE number = :number AND status = 'running' AND claim = :claim AND (verdict IS NULL OR (verdict = 'pending' AND :verdict <> 'pending'))
