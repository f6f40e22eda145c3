-- Insert a saved output.
INSERT INTO outputs (claim, stream, task, data) VALUES (:claim, :stream, :task, :data)
