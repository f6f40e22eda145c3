"""`service`: what has the system's own supervisor run ours."""

from __future__ import annotations

import sys

import click

from ....ipc.home import Home
from ..context import Desk
from ..options import example

#: Seconds without a sign of life after which systemd starts a supervisor anew; that a stop may take beyond the grace.
WATCHDOG, MARGIN = 30, 30

UNIT = """\
# {unit}: backburner for {home}
# Install it:  backburner service systemd > ~/.config/systemd/user/{unit}
#              systemctl --user daemon-reload && systemctl --user enable --now {unit}
# To have it run while you are logged out:  loginctl enable-linger
# After an upgrade:  backburner restart

[Unit]
Description=backburner for {home}

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={folder}
# Only the supervisor is told to stop: tasks run on, and the next supervisor adopts them.
KillMode=process
TimeoutStopSec={stop}
WatchdogSec={watchdog}
# A task that ran out of memory is no reason to stop the others.
OOMPolicy=continue
Restart=on-failure
RestartSec=1
# A home or a configuration that cannot be used wants a person, not another try.
RestartPreventExitStatus=100

[Install]
WantedBy=default.target
"""


@click.group("service", short_help="Print a unit for systemd or launchd.", epilog=example("service systemd"))
def command() -> None:
    """Print what has the system start a supervisor for this home, and watch it."""


@command.command("systemd", epilog=example("service systemd > ~/.config/systemd/user/backburner.service"))
@click.pass_obj
def systemd(desk: Desk) -> None:
    """A user unit for systemd."""
    folder = desk.home.folder
    facts = {
        "unit": "backburner.service",
        "home": _specified(str(folder)),
        "command": " ".join(map(_quoted, _command(desk.home))),
        "folder": _specified(str(folder.parent)),
        "stop": round(desk.config.shutdown_grace_s) + MARGIN,
        "watchdog": WATCHDOG,
    }
    print(UNIT.format(**facts), end="")


@command.command("launchd", epilog=example("service launchd > ~/Library/LaunchAgents/backburner.plist"))
@click.pass_obj
def launchd(desk: Desk) -> None:
    """A property list for launchd."""
    import plistlib

    agent = {
        "Label": "backburner",
        "ProgramArguments": _command(desk.home),
        "WorkingDirectory": str(desk.home.folder.parent),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "AbandonProcessGroup": True,
        "ExitTimeOut": round(desk.config.shutdown_grace_s) + MARGIN,
        "StandardOutPath": str(desk.home.log),
        "StandardErrorPath": str(desk.home.log),
    }
    print(plistlib.dumps(agent, sort_keys=False).decode(), end="")


def _command(home: Home) -> list[str]:
    """Return the command that runs this program with this interpreter, installed or not."""
    from ....ipc.api.control import program
    from ....ipc.machine.distribution import is_installed

    command = [sys.executable, "-P", "-m", "backburner"] if is_installed() else program()
    return [*command, "--home", str(home.folder), "up"]


def _specified(text: str) -> str:
    """Without systemd's specifiers."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of a command line as systemd reads it."""
    plain = _specified(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"' if any(not (sign.isalnum() or sign in "-_/.,:+=@%") for sign in word) else plain
