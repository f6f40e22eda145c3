-- Return the events of all sessions in order, each as the JSON-RPC frame that subscribers receive.
-- The frame of a batch omits `taskIds` and `source`: compact bodies start with these fields, which are cut off.
-- Bodies of earlier versions contain spaces and are parsed.
SELECT seq, method AS type, parent, CAST(printf(
  '{"jsonrpc":"2.0","method":"%s","params":{"seq": %d, "type": "%s", "at": "%s", "parentSessionId": %s, %s}' || char(10),
  method, seq, method, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch'), json_quote(parent), CASE
    WHEN type <> 'background_tasks_notification' THEN substr(body, 2)
    WHEN substr(body, 1, 12) = '{"taskIds":[' THEN substr(body, instr(body, ',"tasks":[') + 1)
    ELSE substr(json_remove(body, '$.taskIds', '$.source'), 2)
  END) AS BLOB) AS frame
FROM (SELECT *, iif(type = 'background_tasks_notification', 'background_tasks_batch', type) AS method FROM events)
WHERE seq > :after ORDER BY seq LIMIT :limit
