"""Other systems: their environment, their servers, and a small application of each, as in its manual."""
