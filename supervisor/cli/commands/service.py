"""`service`: have the supervisor, and launches at certain times, started by systemd or launchd."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....ipc.errors import InvalidInput, NotFound, Permanent
from ....ipc.home import Home
from ..context import Context
from ..options import Output, example, json_option
from ..printing import note, print_json
from ..tables import format_fields, format_table

if TYPE_CHECKING:
    from ...services.managers import Manager, Unit
    from ...services.units import Supervised


@click.group("service", invoke_without_command=True, epilog=example("service install", "service status"))
@click.pass_context
def command(ctx: click.Context) -> None:
    """Start the supervisor at login, and tasks at certain times.

    The service runs the supervisor of this state directory under systemd or launchd, and restarts it if it fails.
    """
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


@command.command(
    "install", epilog=example("service install", Output("~/.config/systemd/user/backburner-project.service"))
)
@click.pass_obj
def install(context: Context) -> None:
    """Install the service, and start it now.

    It starts the supervisor at your login. Its name is that of the project. Installed again, it is updated. Prints the
    file of the service.
    """
    from ....ipc.machine.presence import Presence
    from ...services.managers import manager

    manager_here, home = manager(), context.home.prepare()
    running = Presence(home).holder("supervisor")
    silence = manager_here.silence()
    path = manager_here.install(_supervised(context), start=running is None)
    print(path)
    if silence is not None:
        note(f"the service starts at your next login, since no service manager answers here ({silence})")
    elif running is not None:
        note(f"a supervisor is running already (pid {running}); the service starts at your next login")
    if sys.platform != "darwin":
        note("to start it at boot, before you log in: loginctl enable-linger")


@command.command("status", epilog=example("service status"))
@json_option
@click.pass_obj
def status(context: Context, as_json: bool) -> None:
    """Show the installed service and timers of this state directory."""
    from ...services.managers import manager

    manager_here = manager()
    silence, service = manager_here.silence(), manager_here.find(context.home)
    timers = _timers(manager_here, context.home)
    if as_json:
        found = {name: _document(unit) for name, unit in timers.items()}
        print_json({"service": _document(service), "timers": found, "silence": silence})
        return
    fields = [("service", "not installed; to install it: backburner service install")]
    if service is not None:
        fields = [("service", service.name), ("file", str(service.path)), ("state", service.state or "unknown")]
    sys.stdout.write(format_fields([*fields, *([] if silence is None else [("manager", silence)])], sys.stdout))
    if timers:
        rows = [(name, unit.state or "unknown", str(unit.path)) for name, unit in timers.items()]
        sys.stdout.write("\n" + format_table(("TIMER", "STATE", "FILE"), rows, sys.stdout))


@command.command("remove", epilog=example("service remove", "service remove nightly"))
@click.argument("timer", metavar="[TIMER]", required=False)
@click.pass_obj
def remove(context: Context, timer: str | None) -> None:
    """Stop and remove the service, or a timer.

    Running tasks continue, and their outcomes are kept.
    """
    from ...services.managers import manager

    manager_here = manager()
    if timer is None:
        unit, hint = manager_here.find(context.home), "to install one: backburner service install"
    else:
        unit, hint = _timers(manager_here, context.home).get(timer), "see: backburner service status"
    if unit is None:
        raise NotFound(f"no such service is installed; {hint}")
    manager_here.remove(unit)
    print(unit.path)


@command.command("timer", epilog=example('service timer nightly --on-calendar "*-*-* 03:00" -- make'))
@click.argument("name")
@click.option(
    "--on-calendar",
    "calendar",
    multiple=True,
    required=True,
    metavar="WHEN",
    help="When to launch the task, as in systemd.time(7): daily, Mon 09:00, *-*-* 03:00. Repeatable.",
)
@click.option("-k", "--key", metavar="KEY", help="Let the task use slots of this key.")
@click.argument("words", metavar="-- COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def timer(context: Context, name: str, calendar: tuple[str, ...], key: str | None, words: tuple[str, ...]) -> None:
    """Launch a command as a task at certain times (systemd only).

    The task runs in the current folder with the current PATH. Nothing is queued while the last one is unfinished.
    """
    from ...services.managers import Systemd, manager
    from ...services.units import Timer

    manager_here = manager()
    if not isinstance(manager_here, Systemd):
        raise Permanent("timers need systemd; let cron or launchd run: backburner launch --unique NAME -- COMMAND")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise InvalidInput(f"NAME: expected up to 64 letters, digits and _ . -, got {name!r}", field="name")
    _check_calendar(calendar)
    launch = [*_command(context.home), "launch", "--no-parent", "--unique", f"timer-{name}"]
    launch += [*([] if key is None else ["--key", key]), "--", *words]
    silence = manager_here.silence()
    path = os.environ.get("PATH", os.defpath)
    print(manager_here.install_timer(Timer(context.home, name, calendar, launch, str(Path.cwd()), path)))
    if silence is not None:
        note(f"the timer starts at your next login, since no service manager answers here ({silence})")


@command.command("systemd", epilog=example("service systemd"))
@click.pass_obj
def systemd(context: Context) -> None:
    """Print the user unit for systemd that `install` writes."""
    from ...services.managers import Systemd
    from ...services.units import service_unit

    print(service_unit(Systemd().name_of(context.home), _supervised(context)), end="")


@command.command("launchd", epilog=example("service launchd"))
@click.pass_obj
def launchd(context: Context) -> None:
    """Print the property list for launchd that `install` writes."""
    from ...services.managers import Launchd
    from ...services.units import launch_agent

    print(launch_agent(Launchd().name_of(context.home), _supervised(context)), end="")


def _supervised(context: Context) -> Supervised:
    from ...services.units import Supervised

    return Supervised(context.home, [*_command(context.home), "up"], context.config.shutdown_grace_s)


def _command(home: Home) -> list[str]:
    """Return the start of a command of this program with this interpreter, installed or not."""
    from ....ipc.api.control import program
    from ....ipc.machine.distribution import is_installed

    command = [sys.executable, "-P", "-m", "backburner"] if is_installed() else program()
    return [*command, "--home", str(home.folder)]


def _timers(manager_here: Manager, home: Home) -> dict[str, Unit]:
    from ...services.managers import Systemd

    return manager_here.timers(home) if isinstance(manager_here, Systemd) else {}


def _document(unit: Unit | None) -> dict[str, Any] | None:
    return None if unit is None else {"name": unit.name, "path": str(unit.path), "state": unit.state}


def _check_calendar(calendar: tuple[str, ...]) -> None:
    """Raise InvalidInput if systemd does not understand a time. Without systemd, only line breaks are refused."""
    from ...system.children import run_tool

    for when in calendar:
        code, text = run_tool(["systemd-analyze", "calendar", when])
        if code not in (0, 127) or not when.isprintable():
            raise InvalidInput(f"--on-calendar: expected a time as in systemd.time(7), got {when!r} ({text})")
