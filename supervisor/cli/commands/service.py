"""`service systemd` and `service launchd`."""

from __future__ import annotations

import sys

import click

from ....ipc.home import Home
from ..context import Context
from ..options import example

#: Seconds without a sign of life after which systemd restarts a supervisor.
WATCHDOG = 30
#: Seconds that a stop may take in addition to `shutdown_grace_s`.
STOP_MARGIN = 30

UNIT = """\
# {unit}: backburner for {home}
# To install it:
#   backburner service systemd > ~/.config/systemd/user/{unit}
#   systemctl --user daemon-reload && systemctl --user enable --now {unit}
# To keep it running while you are logged out:
#   loginctl enable-linger
# After an upgrade:
#   backburner restart

[Unit]
Description=backburner for {home}

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={folder}
# Stop the supervisor only: tasks keep running, and the next supervisor adopts them.
KillMode=process
TimeoutStopSec={stop}
WatchdogSec={watchdog}
# A task that runs out of memory must not stop the other tasks.
OOMPolicy=continue
Restart=on-failure
RestartSec=1
# 100: the configuration or the state directory must be fixed by hand first.
RestartPreventExitStatus=100

[Install]
WantedBy=default.target
"""


@click.group("service", epilog=example("service systemd > ~/.config/systemd/user/backburner.service"))
def command() -> None:
    """Print a service file for systemd or launchd.

    The service runs the supervisor of this state directory and restarts it if it fails.
    """


@command.command("systemd", epilog=example("service systemd > ~/.config/systemd/user/backburner.service"))
@click.pass_obj
def systemd(context: Context) -> None:
    """Print a user unit for systemd."""
    folder = context.home.folder
    values = {
        "unit": "backburner.service",
        "home": _escape_specifiers(str(folder)),
        "command": " ".join(map(_quote, _command(context.home))),
        "folder": _escape_specifiers(str(folder.parent)),
        "stop": round(context.config.shutdown_grace_s) + STOP_MARGIN,
        "watchdog": WATCHDOG,
    }
    print(UNIT.format(**values), end="")


@command.command("launchd", epilog=example("service launchd > ~/Library/LaunchAgents/backburner.plist"))
@click.pass_obj
def launchd(context: Context) -> None:
    """Print a property list for launchd."""
    import plistlib

    agent = {
        "Label": "backburner",
        "ProgramArguments": _command(context.home),
        "WorkingDirectory": str(context.home.folder.parent),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "AbandonProcessGroup": True,
        "ExitTimeOut": round(context.config.shutdown_grace_s) + STOP_MARGIN,
        "StandardOutPath": str(context.home.log),
        "StandardErrorPath": str(context.home.log),
    }
    print(plistlib.dumps(agent, sort_keys=False).decode(), end="")


def _command(home: Home) -> list[str]:
    """Return the command that runs the supervisor with this interpreter, installed or not."""
    from ....ipc.api.control import program
    from ....ipc.machine.distribution import is_installed

    command = [sys.executable, "-P", "-m", "backburner"] if is_installed() else program()
    return [*command, "--home", str(home.folder), "up"]


def _escape_specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _quote(word: str) -> str:
    """Return a word of a command line as systemd.service(5) reads it."""
    plain = _escape_specifiers(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"' if any(not (sign.isalnum() or sign in "-_/.,:+=@%") for sign in word) else plain
