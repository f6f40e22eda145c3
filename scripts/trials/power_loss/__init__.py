"""What a loss of power leaves."""
