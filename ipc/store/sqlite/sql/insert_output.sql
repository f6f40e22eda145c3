-- Keep what a try wrote to one stream.
INSERT INTO outputs (claim, stream, task, data) VALUES (:claim, :stream, :task, :data) ON CONFLICT DO NOTHING
