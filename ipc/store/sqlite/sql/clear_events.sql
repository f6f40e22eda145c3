-- Forget all events.
DELETE FROM events
