-- Take `count` claim numbers that were never given before; the last of them.
UPDATE sqlite_sequence SET seq = seq + :count WHERE name = 'claims' RETURNING seq
