-- Take `count` claims that were never given before; return the last.
UPDATE sqlite_sequence SET seq = seq + :count WHERE name = 'claims' RETURNING seq
