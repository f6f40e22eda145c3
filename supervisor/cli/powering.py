"""The supervisor's life: `up`, `down`, `reload`; and the nursery, which the supervisor starts by this command line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from ipc.config import BackgroundConfig, load, sources
from ipc.control import OVERRIDES, program, start, stop
from ipc.errors import BadConfiguration, NoSupervisor, Permanent
from ipc.lock import holder
from ipc.registry import Registry
from supervisor.cli.desk import Desk
from supervisor.cli.options import example, say, short


@click.command("up", epilog=example("up", "up --detach"))
@click.option("--detach", is_flag=True, help="In the background; returns when it can be talked to.")
@click.pass_obj
def up_command(desk: Desk, detach: bool) -> None:
    """Run the supervisor here, until SIGTERM or Ctrl-C; a second Ctrl-C ends running tasks, too."""
    _refuse_lookalikes()
    if detach:
        start(desk.home)
        if sys.stderr.isatty():
            say(f"up in {desk.home.folder}; log: {desk.home.log}")
        return
    _supervise(desk)


@click.command("down", epilog=example("down", "down --now --requeue"))
@click.option("--now", is_flag=True, help="End what is running, instead of waiting up to shutdown_grace_s.")
@click.option("--requeue", is_flag=True, help="With --now: back to pending, whether retries are left or not.")
@click.pass_obj
def down_command(desk: Desk, now: bool, requeue: bool) -> None:
    """Stop the supervisor. What still runs after a while is left to its workers; the next up adopts it."""
    if requeue and not now:
        raise click.UsageError("--requeue goes with --now", click.get_current_context())
    stop(desk.home, now=now, requeue=requeue)
    for id in _still_running(desk):
        say(f"{short(id)} runs on; the next up adopts it")


@click.command("reload", epilog=example("reload"))
@click.pass_obj
def reload_command(desk: Desk) -> None:
    """Apply the configuration files again; running tasks are not touched."""
    if holder(desk.home.lock("supervisor")) is None:
        raise NoSupervisor(f"No supervisor is running for {desk.home.folder}.")
    _ = desk.sound_config
    desk.home.wake("supervisor", "reload")


@click.command("nursery", hidden=True)
@click.pass_obj
def nursery_command(desk: Desk) -> None:
    """Be the nursery of a home; only a supervisor has a use for it."""
    from supervisor.flusher import Flusher
    from supervisor.nursery import Nursery
    from supervisor.worker import Worker

    def worker(home: Any, channel: Any) -> Worker:
        return Worker(home, channel)

    def flusher(home: Any, _channel: Any) -> Flusher:
        return Flusher(home)

    Nursery(desk.home, {"worker": worker, "flusher": flusher}).run()


def _supervise(desk: Desk) -> None:
    from supervisor.supervisor import Source, Supervisor

    home, here, said = desk.home, Path.cwd(), _overrides()

    def read() -> tuple[BackgroundConfig, list[Path]]:
        return load(home, here, said), sources(home, here)

    Supervisor(home, Source(read, program("--home", str(home.folder), "nursery"))).run()


def _overrides() -> dict[str, Any] | None:
    """The settings that whoever started this process wants; its children are not to see them."""
    text = os.environ.pop(OVERRIDES, None)
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadConfiguration(f"{OVERRIDES} is no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise BadConfiguration(f"{OVERRIDES} is no JSON object.")
    return found


def _still_running(desk: Desk) -> list[str]:
    """The running tasks that have a process."""
    return [one.id for one in Registry(desk.database).running() if one.owner is not None]


def _refuse_lookalikes() -> None:
    """Another distribution with an import package of our names would be mixed with ours."""
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    strangers = sorted({name for package in ("supervisor", "ipc") for name in owners.get(package, ())} - {"backburner"})
    if strangers:
        raise Permanent(
            f"{', '.join(strangers)} brings packages of the same names as backburner's; "
            "install backburner in an environment of its own."
        )
