"""The commands of this repository, and what they run."""
