-- Return all processes of a role.
SELECT number, role, pid, ticks, boot, pidns FROM processes WHERE role = :role ORDER BY number
