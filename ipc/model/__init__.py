"""Tasks, launches, claims, events and batches as plain values, and the rules between them."""
