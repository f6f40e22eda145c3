-- Stop or go on with giving out a group's slots.
UPDATE groups SET paused = :paused WHERE name = :name
