-- One setting of the home.
SELECT value FROM settings WHERE name = :name
