-- Delete all events.
DELETE FROM events
