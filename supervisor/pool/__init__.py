"""The pool of workers, from both sides.

The supervisor's side: `workers` are its records, `dispatch` assigns slots, `spawner` and `fork_server_client` get
processes, `reaper` and `recovery` settle what dead workers held. The worker's side: `task_loop` runs tasks, with
`series_run`, `publisher` and `parking`. `control_line` and `supervisor_line` are the lines between the processes.
"""
