-- Tell who the first process of a running try is.
UPDATE tasks SET pid = :pid WHERE number = :number AND status = 'running' AND claim = :claim
