-- Take every parked worker out of its slot.
DELETE FROM parked RETURNING owner
