"""The process that runs Python callables: `pkg.mod:func` with JSON arguments and a JSON result.

The package uses only the standard library and imports itself by relative names, so that another interpreter can run
it: `python .../runner/__main__.py CHANNEL_FD QUEUE_FD PARENT_PID`. Three descriptors connect a runner with its worker:

- The queue has orders, one datagram each. The worker can take back orders that the runner has not received.
- The journal is a file to which the runner appends the starts (`s`) and ends (`e`, `x`) of calls.
- The channel has the hello (the settings of all calls), and then notices to the worker: `i` (the queue is empty),
  `r` (retired: the runner takes no more orders), `f` (the journal cannot be written) and end lines that did not fit
  into the journal.

One runner serves many calls. After each of them it restores the state of the process, or retires.
"""
