"""Trials: a program under load, under attack or without power, and what must hold all the same."""
