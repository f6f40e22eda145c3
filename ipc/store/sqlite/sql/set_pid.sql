-- Set the first process of a running attempt.
UPDATE tasks SET pid = :pid WHERE number = :number AND status = 'running' AND claim = :claim
