"""The configuration: its settings, its files, the agents and the limits that it describes."""
