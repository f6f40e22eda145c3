"""Kills and stops every role at random under load."""
