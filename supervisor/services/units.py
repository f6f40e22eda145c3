"""The text of unit files for systemd and of property lists for launchd."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...ipc.home import NAME, Home

#: Seconds without a sign of life after which systemd restarts a supervisor.
WATCHDOG = 30
#: Seconds that a stop may take in addition to `shutdown_grace_s`.
STOP_MARGIN = 30
#: The longest name of a project in the name of a unit.
LONGEST_NAME = 60

_SERVICE = """\
# {name}.service: backburner for {home}
# To install it, with this file name, and start it:
#   backburner service install
# To keep it running while you are logged out, and start it at boot:
#   loginctl enable-linger
# After an upgrade:
#   backburner restart

[Unit]
Description={description}

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

_TIMER_SERVICE = """\
[Unit]
Description={description}

[Service]
Type=oneshot
ExecStart={command}
WorkingDirectory={folder}
Environment={path}
# The task, and a supervisor that the launch starts, must outlive this service.
KillMode=process
"""

_TIMER = """\
[Unit]
Description={description}

[Timer]
{calendar}
# A time that was missed while the machine was off is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""


class Supervised(NamedTuple):
    """A state directory, the command that runs its supervisor, and the seconds that a stop may take."""

    home: Home
    command: Sequence[str]
    grace: float

    @property
    def stop_timeout(self) -> int:
        """Return the seconds after which a stop has failed."""
        return round(self.grace) + STOP_MARGIN


class Timer(NamedTuple):
    """A launch at certain times (systemd.time(7)). `command` is the whole command that launches the task."""

    home: Home
    name: str
    calendar: Sequence[str]
    command: Sequence[str]
    folder: str
    path: str


def project_of(home: Home) -> str:
    """Return the name of a home's project as part of a unit's name."""
    folder = home.folder.parent if home.folder.name == NAME else home.folder
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name).strip("-.")[:LONGEST_NAME] or "home"


def description_of(home: Home, timer: str = "") -> str:
    """Return the description by which the unit of a home, or of one of its timers, is found again."""
    return f"backburner {f'timer {timer} ' if timer else ''}for {escape_specifiers(str(home.folder))}"


def service_unit(name: str, supervised: Supervised) -> str:
    """Return the unit of a supervisor for systemd."""
    home = supervised.home
    return _SERVICE.format(
        name=name,
        home=escape_specifiers(str(home.folder)),
        description=description_of(home),
        command=" ".join(map(quote, supervised.command)),
        folder=escape_specifiers(str(home.folder.parent)),
        stop=supervised.stop_timeout,
        watchdog=WATCHDOG,
    )


def timer_units(timer: Timer) -> Mapping[str, str]:
    """Return the two units of a timer for systemd, by their suffix."""
    description = description_of(timer.home, timer.name)
    service = _TIMER_SERVICE.format(
        description=description,
        command=" ".join(map(quote, timer.command)),
        folder=escape_specifiers(timer.folder),
        path=quote(f"PATH={timer.path}", dollars=False),
    )
    calendar = "\n".join(f"OnCalendar={escape_specifiers(spec)}" for spec in timer.calendar)
    return {"service": service, "timer": _TIMER.format(description=description, calendar=calendar)}


def launch_agent(label: str, supervised: Supervised) -> str:
    """Return the property list of a supervisor for launchd."""
    home = supervised.home
    agent = {
        "Label": label,
        "ProgramArguments": list(supervised.command),
        "WorkingDirectory": str(home.folder.parent),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "AbandonProcessGroup": True,
        "ExitTimeOut": supervised.stop_timeout,
        "StandardOutPath": str(home.log),
        "StandardErrorPath": str(home.log),
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def escape_specifiers(text: str) -> str:
    """Return a text in which systemd replaces nothing."""
    return text.replace("%", "%%")


def quote(word: str, dollars: bool = True) -> str:
    """Return a word of a command line as systemd.service(5) reads it. Only commands replace variables after `$`."""
    plain = escape_specifiers(word).replace("\\", "\\\\").replace('"', '\\"')
    plain = plain.replace("$", "$$") if dollars else plain
    plain = "".join(letter if letter.isprintable() else _escape(letter) for letter in plain)
    is_simple = word and all(sign.isalnum() or sign in "-_/.,:+=@%" for sign in word)
    return plain if is_simple else f'"{plain}"'


def _escape(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode(errors="surrogateescape"))
