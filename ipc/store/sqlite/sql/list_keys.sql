-- Every key that was ever seen, with its group.
SELECT name, grp FROM keys
