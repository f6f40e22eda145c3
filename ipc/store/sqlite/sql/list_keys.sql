-- Every key that was ever seen, with its group.
SELECT name, limit_group FROM keys
