"""`list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from ..input.duration import WholeNumber
from ..input.since import SINCE
from ..input.words import Words, meanings
from ..options import Output, all_projects_option, example, json_option
from ..printing import note, print_json_array, print_json_line
from ..screen.pager import pager_option, print_paged
from ..screen.task_table import FIELDS, sort_tasks, task_lines
from ..tables import Look

if TYPE_CHECKING:
    from ....ipc.model.query import Filter

#: The number of tasks shown on a terminal by default.
SHOWN = 100
#: The number of tasks read at a time.
PAGE = 1000

#: The words for one status, and those for several.
STATUSES = {
    **{status.value: (status,) for status in TaskStatus},
    "failed": (TaskStatus.ERROR,),
    "done": tuple(status for status in TaskStatus if status.ended),
}


@click.command(
    "list",
    epilog=example(
        "list --status failed --key build --since 24h",
        Output("ID        STATUS  KEY    SINCE     TOOK   NOTE         TASK"),
        Output("c4c4c537  error   build  22:20:18  3.0 s  exit code 2  all tests"),
        "list --watch",
    ),
)
@click.option(
    "--status",
    "statuses",
    type=Words("status", STATUSES),
    multiple=True,
    metavar="STATUS,...",
    help="Show only tasks with one of these: pending, running, completed, error (or failed), cancelled, or done for"
    " all that have ended.",
)
@click.option("-k", "--key", metavar="KEY", help="Show only tasks of this key, or of the keys of this pattern.")
@click.option("--agent", metavar="NAME", help="Show only tasks of this agent.")
@click.option("--model", metavar="NAME", help="Show only tasks of this model.")
@click.option("--parent", metavar="SESSION", help="Show only tasks of this session.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Show only tasks with this tag. Repeatable.")
@click.option(
    "--text",
    metavar="TEXT",
    help="Show only tasks with this text in their description, command or prompt. The newest 10 000 are searched.",
)
@click.option(
    "--since",
    type=SINCE,
    metavar="TIME",
    help="Show only tasks that were queued, started or ended since then: 1h30m (ago), 09:00, 2026-01-31 or"
    " 2026-01-31T09:00.",
)
@click.option(
    "-n",
    "--limit",
    type=WholeNumber(0),
    metavar="N",
    help=f"Show at most N tasks; 0 shows all. [default: {SHOWN} on a terminal, else all]",
)
@click.option("--all", "show_all", is_flag=True, help="Show all tasks, however many they are.")
@click.option(
    "--sort",
    type=Words("column", FIELDS, prefix="-"),
    metavar="COLUMN,...",
    help="Sort by these columns; -COLUMN sorts downwards.",
)
@click.option(
    "--columns",
    type=Words("column", FIELDS),
    metavar="COLUMN,...",
    help=f"Show these columns: {', '.join(FIELDS)}.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the IDs.")
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Show the tasks until Ctrl-C or q, and follow all changes. Into a pipe: print a JSON array of all of"
    " them, one line at each change.",
)
@all_projects_option
@pager_option
@json_option
@click.pass_obj
def command(context: Context, /, all_projects: bool, quiet: bool, watch: bool, as_json: bool, **options: Any) -> None:
    """List tasks: running, then the next to start, then ended.

    SINCE is the time of the last change. TOOK is the time of the last attempt, WAITED the time before the first.
    WAITS FOR is the reason why a task is pending, and NOTE the reason why it failed. On a narrow terminal some columns
    are left out.

    JSON has the newest task first.
    """
    _refuse_contradictions(options, all_projects and watch)
    if all_projects:
        _list_all(context, quiet, as_json, options)
    else:
        _list_one(context, quiet, watch, as_json, options)


def _refuse_contradictions(options: dict[str, Any], watches_all: bool) -> None:
    if options["show_all"] and options["limit"]:
        raise click.UsageError("--all and --limit exclude each other", click.get_current_context())
    if watches_all:
        raise click.UsageError("--watch follows one project, without --all-projects", click.get_current_context())


def _list_one(context: Context, quiet: bool, watch: bool, as_json: bool, options: dict[str, Any]) -> None:
    """List the tasks of one state directory."""
    if watch:
        _watch(context, as_json or not sys.stdout.isatty(), options)
    elif as_json:
        print_json_array(task.brief() for task in _newest_first(context, options))
    elif quiet:
        for task in _in_order(context, options, _limit(options)):
            print(task.id)
    else:
        _print_table(context, options)


def _filter(options: dict[str, Any], limit: int | None, cursor: str | None = None) -> Filter:
    from ....ipc.model.query import Filter

    return Filter(
        statuses=meanings(options["statuses"], STATUSES),
        limit=limit,
        cursor=cursor,
        **{name: options[name] for name in ("parent", "model", "tags", "key", "agent", "text", "since")},
    )


def _limit(options: dict[str, Any]) -> int | None:
    """Return the maximum number of tasks of a table, or None."""
    default = SHOWN if sys.stdout.isatty() and not options["show_all"] else None
    return default if options["limit"] is None else options["limit"] or None


def _newest_first(context: Context, options: dict[str, Any]) -> Iterator[Task]:
    """Yield the tasks. They are read in pages, because a list may be larger than the memory."""
    limit = options["limit"] or None
    if options["sort"]:
        yield from sort_tasks(_pages(context, options, None), options["sort"])[:limit]
    else:
        yield from _pages(context, options, limit)


def _pages(context: Context, options: dict[str, Any], limit: int | None) -> Iterator[Task]:
    if not context.has_database:
        return
    remaining, cursor = limit, None
    while True:
        size = PAGE if remaining is None else min(PAGE, remaining)
        page = context.tasks.list(_filter(options, size, cursor))
        yield from page.tasks
        cursor, remaining = page.next, None if remaining is None else remaining - len(page.tasks)
        if cursor is None or remaining == 0:
            return


def _in_order(context: Context, options: dict[str, Any], limit: int | None) -> Iterator[Task]:
    """Yield the tasks in the order of a table."""
    if not context.has_database:
        return
    if options["sort"]:
        yield from sort_tasks(context.tasks.in_order(_filter(options, None)), options["sort"])[:limit]
    else:
        yield from context.tasks.in_order(_filter(options, limit))


def _print_table(context: Context, options: dict[str, Any]) -> None:
    limit = _limit(options)
    tasks = list(_in_order(context, options, None if limit is None else limit + 1))
    if tasks:
        _print_tasks(tasks[:limit], options)
    elif sys.stderr.isatty():
        note(f"no such tasks in {context.home.folder}")
    _note_limit(len(tasks), limit, options)


def _list_all(context: Context, quiet: bool, as_json: bool, options: dict[str, Any]) -> None:
    """List the tasks of all projects."""
    from ..screen import all_projects

    limit = options["limit"] or None if as_json or quiet else _limit(options)
    # With another order than that of each project, the first tasks of all may be anywhere.
    selection = _filter(options, None if options["sort"] or as_json else limit and limit + 1)
    found = list(all_projects.find_all(context, lambda tasks: tasks.in_order(selection)))
    if options["sort"]:
        found = all_projects.sorted_by(found, options["sort"])
    else:
        found = all_projects.newest_first(found) if as_json else all_projects.in_order(found)
    if as_json:
        print_json_array(one.to_json() for one in found[:limit])
    elif quiet:
        print("".join(f"{one.task.id}\n" for one in found[:limit]), end="")
    elif found:
        _print_tasks([one.task for one in found[:limit]], options, [one.project for one in found[:limit]])
        _note_limit(len(found), limit, options)
    elif sys.stderr.isatty():
        note("no such tasks in any project")


def _note_limit(found: int, limit: int | None, options: dict[str, Any]) -> None:
    if limit is not None and found > limit and options["limit"] is None:
        note(f"only {limit} tasks are shown; to show all: backburner list --all")


def _print_tasks(tasks: Sequence[Task], options: dict[str, Any], projects: Sequence[str] = ()) -> None:
    lines = task_lines(tasks, options["columns"], Look.of(sys.stdout), projects)
    print_paged("".join(f"{line}\n" for line in lines), options["no_pager"])


def _watch(context: Context, as_json: bool, options: dict[str, Any]) -> None:
    from ..screen.watch import REDRAW_INTERVAL, Choice, watch_tasks

    if not as_json:
        watch_tasks(
            context, Choice(_filter(options, options["limit"] or None), options["columns"], options["sort"] or ())
        )
        return
    from ....ipc import clock
    from ..changes import ChangeWatch

    with ChangeWatch(context) as watch:
        while True:
            print_json_line([task.brief() for task in _newest_first(context, options)])
            clock.nap(REDRAW_INTERVAL)
            watch.wait()
