"""The peers: their environment, their servers, and one small application each, as their manuals write it."""
