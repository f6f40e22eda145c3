"""`edit`."""

from __future__ import annotations

from typing import Any

import click

from ....ipc.model.edit import EDIT_FIELDS, TaskEdit
from ....ipc.validation import Record
from ..context import Context
from ..input.duration import DURATION, WholeNumber
from ..input.moment import MOMENT
from ..options import Output, example, id_argument, json_option, naming_options
from ..printing import print_task

_EDIT = Record("edit", EDIT_FIELDS)

#: The field of each option.
_FIELDS = {
    "description": "description",
    "priority": "priority",
    "key": "concurrencyKey",
    "delay": "delayMs",
    "at": "delayMs",
    "timeout": "timeoutMs",
    "retries": "retries",
}


@click.command(
    "edit", epilog=example("edit 1a2b3c4d --priority 10", Output("1a2b3c4d pending"), "edit - --at 03:00 --key slow")
)
@id_argument
@click.option("-d", "--description", metavar="TEXT", help="A line about the task. An empty text deletes it.")
@click.option("-k", "--key", metavar="KEY", help="Share slots with other tasks of this key.")
@click.option("--priority", type=WholeNumber(-1000, 1000), metavar="N", help="Run before tasks with a lower priority.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A label instead of the present ones. Repeatable.")
@click.option("--no-tags", is_flag=True, help="Delete all labels.")
@click.option("--delay", type=DURATION, metavar="DURATION", help="Wait this long from now; 0 ends the delay.")
@click.option("--at", type=MOMENT, metavar="TIME", help="Do not start before this time (03:00, 2026-12-24T03:00).")
@click.option("--timeout", type=DURATION, metavar="DURATION", help="Stop an attempt that runs longer; 0 is no timeout.")
@click.option("--retries", type=WholeNumber(0, 1000), metavar="N", help="Retry up to N times after a failure.")
@json_option
@click.pass_obj
def command(context: Context, /, id: str, as_json: bool, **options: Any) -> None:
    """Change a pending task.

    The other fields stay as they are. A task that has started cannot be changed. To launch it again with changes:
    backburner launch --like ID
    """
    ctx = click.get_current_context()
    if None not in (options["delay"], options["at"]):
        raise click.UsageError("give --delay or --at, not both", ctx)
    if options["tags"] and options["no_tags"]:
        raise click.UsageError("give --tag or --no-tags, not both", ctx)
    fields = {field: options[name] for name, field in _FIELDS.items() if options[name] is not None}
    if options["tags"] or options["no_tags"]:
        fields["tags"] = list(options["tags"])
    if not fields:
        raise click.UsageError("give an option to change", ctx)
    print_task(context.queue.edit(context.resolve_id(id), _edit(fields)), as_json)


def _edit(fields: dict[str, Any]) -> TaskEdit:
    """Return the edit of these fields. Raises InvalidInput, which names the option."""
    with naming_options():
        return TaskEdit.from_checked_json(_EDIT.check(fields))
