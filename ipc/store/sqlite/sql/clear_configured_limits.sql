-- Clear the limits of the previous configuration.
UPDATE groups SET configured = NULL WHERE configured IS NOT NULL
