-- Forget the limits of an earlier configuration.
UPDATE groups SET configured = NULL WHERE configured IS NOT NULL
