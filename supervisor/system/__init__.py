"""The operating system: child processes, signals, systemd, file watches, steps of the clock."""
