-- Insert one stream of an attempt's output.
INSERT INTO outputs (claim, stream, task, data) VALUES (:claim, :stream, :task, :data) ON CONFLICT DO NOTHING
