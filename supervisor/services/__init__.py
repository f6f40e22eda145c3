"""The service that runs the supervisor of a state directory, and timers, under systemd or launchd."""
