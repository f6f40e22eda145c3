-- Up to where a consumer of a parent's events has acknowledged them.
SELECT seq FROM cursors WHERE parent = :parent AND consumer = :consumer
