"""What may be wrong with a home, looked for without writing anything: each finding says how to mend it."""
