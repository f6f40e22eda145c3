-- Return the tasks of batches, except tasks that were retried afterwards: the batch must report a task's last end.
SELECT t.number, t.claim, i.stdin_file, t.completed_at
FROM batches b, json_each(b.body, '$.tasks') e JOIN tasks t ON t.id = json_extract(e.value, '$.id') JOIN inputs i ON i.task = t.number
WHERE b.seq IN (SELECT value FROM json_each(:seqs))
  AND strftime('%Y-%m-%dT%H:%M:%fZ', t.completed_at / 1000.0, 'unixepoch') = json_extract(e.value, '$.completedAt')
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.parent = t.parent AND o.task = t.number)
