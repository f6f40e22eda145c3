"""The pool of workers, from both sides.

On the supervisor's side, `workers` keeps its records, and `dispatch` assigns slots. `spawner` and `fork_server_client`
get processes, and `reaper` and `recovery` settle the tasks of dead workers. On the worker's side, `task_loop` runs
tasks with `series_run`, `publisher` and `parking`. `control_line` and `supervisor_line` connect the processes.
"""
