-- Return a setting.
SELECT value FROM settings WHERE name = :name
