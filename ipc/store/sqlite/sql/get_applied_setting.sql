-- One setting of the configuration in force.
SELECT value FROM settings WHERE name = :name
