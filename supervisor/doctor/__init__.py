"""Find problems of an installation and a state directory, without writing anything."""
