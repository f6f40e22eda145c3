-- Return the session in which a client's process was last seen.
SELECT session FROM clients WHERE process = :process
