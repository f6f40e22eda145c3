-- Take a worker out of the slot in which it is parked.
DELETE FROM parked WHERE owner = :owner
