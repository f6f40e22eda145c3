"""Compose the roles. A supervisor gets its configuration, and a fork server gets the roles that it forks."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from ...ipc.config import files
from ...ipc.config.settings import BackgroundConfig
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.machine.shared_slots import SharedSlot
from ..role import Role

#: The argument that makes this program a fork server. Only the supervisor uses it.
FORK_SERVER = "_forkserver"


def run_supervisor(home: Home, cwd: Path | None, overrides: Mapping[str, object]) -> None:
    """Run a supervisor until it is stopped. Raises AlreadyRunning, BadConfiguration, BadHome, Temporary."""
    from ..supervision.source import Source
    from ..supervisor import Supervisor
    from ..system.preload import preload

    def read() -> tuple[BackgroundConfig, list[Path]]:
        return files.load(home, cwd, overrides), files.sources(home, cwd)

    preload()
    supervisor = Supervisor(home, Source(read, fork_server_command(home)))
    supervisor.run()
    if supervisor.successor is not None:
        _exec(supervisor.successor, overrides)


def _exec(command: list[str], overrides: Mapping[str, object]) -> None:
    """Replace this process by another program, so that a parent such as systemd sees no exit."""
    from ...ipc.api.control import OVERRIDES

    environment = {**os.environ, OVERRIDES: json.dumps(overrides)}
    with failpoint("supervisor.exec"):
        os.execve(command[0], command, environment)


def fork_server_command(home: Home) -> list[str]:
    """Return the command that starts a fork server. It does not import click, which workers do not need."""
    from ...ipc.api.control import program

    return program(FORK_SERVER, str(home.folder))


def run_fork_server(folder: str) -> None:
    """Run a fork server until it is stopped.

    The modules of workers and flushers are imported here, so that a fork of this process is ready at once.
    """
    from ..flusher import Flusher
    from ..fork_server import ForkServer
    from ..system.preload import preload
    from ..worker import Worker

    def worker(home: Home, channel: socket.socket | None, slot: SharedSlot | None) -> Role:
        assert channel is not None, "the order for a worker brings its control line"
        return Worker(home, channel, slot)

    def flusher(home: Home, _channel: socket.socket | None, _slot: SharedSlot | None) -> Role:
        return Flusher(home)

    preload()
    ForkServer(Home(Path(folder)), {"worker": worker, "flusher": flusher}).run()
