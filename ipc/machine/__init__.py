"""The processes of this machine: their identity, their locks, what /proc knows of them."""
