-- Return a process.
SELECT number, role, pid, ticks, boot, pidns FROM processes WHERE number = :number
