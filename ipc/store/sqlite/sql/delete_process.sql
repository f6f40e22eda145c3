-- Delete a process.
DELETE FROM processes WHERE number = :number
