"""Text for people, which needs no other part of the program."""
