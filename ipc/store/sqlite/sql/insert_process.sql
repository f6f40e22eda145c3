-- Enter a process of ours.
INSERT INTO processes (role, pid, ticks, boot, pidns, since) VALUES (:role, :pid, :ticks, :boot, :pidns, :since)
