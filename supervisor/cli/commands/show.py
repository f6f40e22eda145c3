"""`show`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from ..context import Context
from ..options import Output, PerTask, example, ids_argument, json_option, require_ids
from ..printing import print_json, print_json_array
from ..streams.task_environment import task_environment
from ..streams.task_page import task_page


@click.command(
    "show",
    epilog=example(
        "show 1a2b3c4d",
        Output("id               bg-1a2b3c4d-c56f-4b7f-875a-82e30af625f2"),
        Output("status           error"),
        Output("error            exit code 2: make: *** No rule to make target 'test'. Stop."),
        Output("..."),
        "show --json -",
    ),
)
@ids_argument
@click.option("--env", "with_environment", is_flag=True, help="Print the environment of the task; secrets are masked.")
@json_option
@click.pass_obj
def command(context: Context, ids: Sequence[str], with_environment: bool, as_json: bool) -> int:
    """Show what a task does, or how it ended.

    Prints its outcome, times and settings, and the last lines of its output. With --json, all fields are printed, and
    of several tasks an array. ID may be shortened to any unique prefix; - is the last task launched from this state
    directory, whichever terminal launched it.
    """
    require_ids(ids)
    per_task = PerTask(context)
    tasks = per_task.run(ids, context.tasks.get)
    if with_environment:
        _print_environments([task_environment(context, task) for task in tasks], as_json)
    elif as_json and len(ids) > 1:
        print_json_array(task.to_json() for task in tasks)
    elif as_json:
        for task in tasks:
            print_json(task.to_json())
    else:
        sys.stdout.write("\n".join(task_page(context, task, sys.stdout) for task in tasks))
    return per_task.report_errors()


def _print_environments(environments: Sequence[Mapping[str, str]], as_json: bool) -> None:
    if as_json and len(environments) > 1:
        print_json_array(environments)
    elif as_json:
        for environment in environments:
            print_json(environment)
    else:
        blocks = ("".join(f"{name}={value}\n" for name, value in found.items()) for found in environments)
        sys.stdout.write("\n".join(blocks))
