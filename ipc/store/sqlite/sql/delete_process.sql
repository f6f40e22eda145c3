-- Strike a process out.
DELETE FROM processes WHERE number = :number
