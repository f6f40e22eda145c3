-- Delete events.
DELETE FROM events WHERE seq IN (SELECT value FROM json_each(:seqs))
