"""Simulated power losses."""
