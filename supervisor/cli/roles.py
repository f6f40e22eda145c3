"""Where roles are composed: which configuration a supervisor reads, and what a fork server can make."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from ...ipc.config import settings
from ...ipc.config.settings import BackgroundConfig
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ..role import Role

#: The word that has the command line be a fork server. Nobody types it.
FORK_SERVER = "_forkserver"


def be_supervisor(home: Home, cwd: Path, overrides: Mapping[str, object]) -> None:
    """Supervise until told to stop. Raises AlreadyRunning, BadConfiguration, BadHome, Temporary."""
    from ..supervisor import Source, Supervisor

    def read() -> tuple[BackgroundConfig, list[Path]]:
        return settings.load(home, cwd, overrides), settings.sources(home, cwd)

    supervisor = Supervisor(home, Source(read, fork_server_command(home)))
    supervisor.run()
    if supervisor.successor is not None:
        _become(supervisor.successor, overrides)


def _become(command: list[str], overrides: Mapping[str, object]) -> None:
    """Go on as another program, in this process: whoever watches it, systemd say, sees no death."""
    from ...ipc.api.control import OVERRIDES

    environment = {**os.environ, OVERRIDES: json.dumps(overrides)}
    with failpoint("supervisor.exec"):
        os.execve(command[0], command, environment)


def fork_server_command(home: Home) -> list[str]:
    """What starts a fork server: without the command line's libraries, which every worker would share for nothing."""
    from ...ipc.api.control import program

    return program(FORK_SERVER, str(home.folder))


def be_fork_server(folder: str) -> None:
    """Fork workers and flushers until told to stop. What they need is imported now: a fork of it is ready at once."""
    from ..flusher import Flusher
    from ..fork_server import ForkServer
    from ..worker import Worker

    def worker(home: Home, channel: socket.socket | None) -> Role:
        assert channel is not None, "a worker is ordered with its line"
        return Worker(home, channel)

    def flusher(home: Home, _channel: socket.socket | None) -> Role:
        return Flusher(home)

    ForkServer(Home(Path(folder)), {"worker": worker, "flusher": flusher}).run()
