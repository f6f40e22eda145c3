-- Note how far a running try is, as its output tells it.
UPDATE tasks SET progress = :text WHERE number = :number AND status = 'running' AND claim = :claim
