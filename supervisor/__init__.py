"""Who lives, who dies, who may run, who is told: the processes. An application, not a library: nothing is exported."""
