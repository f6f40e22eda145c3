-- Those who had an heir have this one's heir instead.
UPDATE heirs SET heir = :heir WHERE heir = :parent AND parent <> :heir
