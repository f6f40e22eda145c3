-- The session that a client's process was last seen with.
SELECT session FROM clients WHERE process = :process
