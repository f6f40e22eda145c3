"""The pool of workers: dispatch, the client of the fork server, recovery of what dead workers held."""
