-- Put back what a task wrote.
INSERT INTO outputs (claim, stream, task, data) VALUES (:claim, :stream, :task, :data)
