-- Record the progress of a running attempt.
UPDATE tasks SET progress = :text WHERE number = :number AND status = 'running' AND claim = :claim
