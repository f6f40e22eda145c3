-- Delete the clients that were last seen before a time.
DELETE FROM clients WHERE at < :before
