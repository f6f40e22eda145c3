-- Forget processes that were seen first too long ago to be alive.
DELETE FROM clients WHERE at < :before
