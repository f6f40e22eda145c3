-- Pause or resume a group.
UPDATE groups SET paused = :paused WHERE name = :name
