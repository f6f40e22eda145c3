"""Kills and stops at random."""
