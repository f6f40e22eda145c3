-- Make the successor of a session also the successor of all sessions that it succeeded.
UPDATE successors SET successor = :successor WHERE successor = :parent AND parent <> :successor
