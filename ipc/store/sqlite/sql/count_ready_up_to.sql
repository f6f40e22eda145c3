-- How many tasks of a group are ready, counted no further than `most`.
SELECT count(*) FROM (SELECT 1 FROM tasks WHERE status = 'pending' AND ready = 1 AND grp = :grp LIMIT :most)
