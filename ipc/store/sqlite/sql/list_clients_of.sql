-- The processes that were last seen with a session.
SELECT process FROM clients WHERE session = :session
