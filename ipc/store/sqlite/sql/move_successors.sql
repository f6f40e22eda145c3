-- Those who had an successor have this one's successor instead.
UPDATE successors SET successor = :successor WHERE successor = :parent AND parent <> :successor
