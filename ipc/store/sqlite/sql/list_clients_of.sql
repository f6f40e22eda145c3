-- Return the client processes that were last seen in a session.
SELECT process FROM clients WHERE session = :session
