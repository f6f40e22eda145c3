-- Return every parked worker with its slot.
SELECT owner, limit_group, slot FROM parked
