-- Every parked worker, with its slot.
SELECT owner, grp, slot FROM parked
