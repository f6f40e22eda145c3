"""The processes of this machine: their identities, their locks, and facts about them from /proc."""
