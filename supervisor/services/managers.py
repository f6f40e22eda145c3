"""Install, find and remove units under the user's systemd or launchd."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ...ipc.errors import Permanent
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ..system.children import run_tool
from .units import Supervised, Timer, description_of, launch_agent, project_of, service_unit, timer_units


class Unit(NamedTuple):
    """An installed service or timer. `state` is what the manager calls it, or None if none answers."""

    name: str
    path: Path
    state: str | None


class Manager(ABC):
    """The program that starts the services of the user."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Return the folder of the files."""

    @abstractmethod
    def silence(self) -> str | None:
        """Return the reason why no manager answers here, or None if one does."""

    @abstractmethod
    def name_of(self, home: Home) -> str:
        """Return the name of the service of a home: the one that is installed, or a free one."""

    @abstractmethod
    def install(self, supervised: Supervised, start: bool) -> Path:
        """Write the file of a service, have it started at login, and start it now if asked. Raises Permanent."""

    @abstractmethod
    def find(self, home: Home) -> Unit | None:
        """Return the installed service of a home."""

    @abstractmethod
    def remove(self, unit: Unit) -> None:
        """Stop and delete a service or a timer. Raises Permanent."""


class Systemd(Manager):
    """systemd --user."""

    @property
    def folder(self) -> Path:
        """Return the folder of the user's units."""
        named = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        return (named if named.is_absolute() else _home_folder() / ".config") / "systemd" / "user"

    def silence(self) -> str | None:
        """Return the reason why systemd does not answer, or None."""
        code, text = _ask("show-environment")
        return None if code == 0 else text or "systemctl --user failed"

    def name_of(self, home: Home) -> str:
        """Return the name of the unit, without its suffix."""
        return self._name(home, f"backburner-{project_of(home)}", "")

    def install(self, supervised: Supervised, start: bool) -> Path:
        """Write the unit, enable it, and start it if asked."""
        name = self.name_of(supervised.home)
        path = self._write(f"{name}.service", service_unit(name, supervised))
        self._enable(f"{name}.service", "default.target", start)
        return path

    def install_timer(self, timer: Timer) -> Path:
        """Write the units of a timer, and start it. Raises Permanent."""
        name = self._name(timer.home, f"backburner-{project_of(timer.home)}-{timer.name}", timer.name)
        units = timer_units(timer)
        self._write(f"{name}.service", units["service"])
        path = self._write(f"{name}.timer", units["timer"])
        self._enable(f"{name}.timer", "timers.target", start=True)
        return path

    def find(self, home: Home) -> Unit | None:
        """Return the installed unit of a home's supervisor."""
        return next((self._unit(path) for path in self._described(description_of(home), "service")), None)

    def timers(self, home: Home) -> dict[str, Unit]:
        """Return the installed timers of a home by name."""
        start, _, end = description_of(home, "\0").partition("\0")
        found = {}
        for path in sorted(self.folder.glob("backburner-*.timer")):
            description = _description(path)
            if description.startswith(start) and description.endswith(end):
                found[description[len(start) : len(description) - len(end)]] = self._unit(path)
        return found

    def remove(self, unit: Unit) -> None:
        """Stop the unit, and delete its files."""
        if self.silence() is None:
            _must("disable", "--now", unit.path.name)
        for target in ("default.target", "timers.target"):
            _delete(self.folder / f"{target}.wants" / unit.path.name)
        for path in {unit.path, unit.path.with_suffix(".service")}:
            _delete(path)
        if self.silence() is None:
            _must("daemon-reload")

    def _name(self, home: Home, name: str, timer: str) -> str:
        """Return the name of an installed unit, or this name, with a part of a digest if another home has it."""
        description = description_of(home, timer)
        installed = next(self._described(description, "timer" if timer else "service"), None)
        if installed is not None:
            return installed.stem
        if (self.folder / f"{name}.service").exists():
            return f"{name}-{sha256(os.fsencode(home.folder)).hexdigest()[:8]}"
        return name

    def _described(self, description: str, suffix: str) -> Iterator[Path]:
        paths = sorted(self.folder.glob(f"backburner*.{suffix}"))
        return (path for path in paths if _description(path) == description)

    def _unit(self, path: Path) -> Unit:
        code, text = _ask("is-active", path.name)
        return Unit(path.stem, path, text if code == 0 or text in _STATES else None)

    def _write(self, name: str, text: str) -> Path:
        return _write(self.folder / name, text)

    def _enable(self, unit: str, target: str, start: bool) -> None:
        """Have a unit started at login. Without a manager, the link that it would make is made here."""
        if self.silence() is None:
            _must("daemon-reload")
            _must("enable", *(["--now"] if start else []), unit)
            return
        folder = self.folder / f"{target}.wants"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), failpoint("service.enable"):
                (folder / unit).symlink_to(self.folder / unit)
        except OSError as error:
            raise Permanent(f"{folder} cannot be written: {error.strerror}") from error


class Launchd(Manager):
    """launchd, as the user's agents."""

    @property
    def folder(self) -> Path:
        """Return the folder of the user's agents."""
        return _home_folder() / "Library" / "LaunchAgents"

    def silence(self) -> str | None:
        """Return the reason why launchd does not answer, or None."""
        code, text = run_tool(["launchctl", "print", self._domain])
        return None if code == 0 else text

    def name_of(self, home: Home) -> str:
        """Return the label of the agent."""
        label = f"backburner.{project_of(home)}"
        other = self._home_of(self.folder / f"{label}.plist")
        is_taken = other is not None and other != str(home.folder)
        return f"{label}-{sha256(os.fsencode(home.folder)).hexdigest()[:8]}" if is_taken else label

    def install(self, supervised: Supervised, start: bool) -> Path:
        """Write the property list, and load it if asked."""
        label = self.name_of(supervised.home)
        path = _write(self.folder / f"{label}.plist", launch_agent(label, supervised))
        if start and self.silence() is None:
            run_tool(["launchctl", "bootout", f"{self._domain}/{label}"])
            _check(["launchctl", "bootstrap", self._domain, str(path)])
        return path

    def find(self, home: Home) -> Unit | None:
        """Return the installed agent of a home."""
        label = self.name_of(home)
        path = self.folder / f"{label}.plist"
        if not path.exists():
            return None
        code, _ = run_tool(["launchctl", "print", f"{self._domain}/{label}"])
        return Unit(label, path, "active" if code == 0 else "inactive")

    def remove(self, unit: Unit) -> None:
        """Unload the agent, and delete its file."""
        run_tool(["launchctl", "bootout", f"{self._domain}/{unit.name}"])
        _delete(unit.path)

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    def _home_of(self, path: Path) -> str | None:
        import plistlib

        try:
            arguments = plistlib.loads(path.read_bytes())["ProgramArguments"]
            return str(arguments[arguments.index("--home") + 1])
        except (OSError, ValueError, KeyError, IndexError):
            return None


#: What systemd calls units that do not run.
_STATES = ("inactive", "failed", "activating", "deactivating", "reloading", "unknown")


def manager() -> Manager:
    """Return the manager of this system."""
    return Launchd() if sys.platform == "darwin" else Systemd()


def _ask(*words: str) -> tuple[int, str]:
    return run_tool(["systemctl", "--user", *words])


def _must(*words: str) -> None:
    _check(["systemctl", "--user", *words])


def _check(command: list[str]) -> None:
    code, text = run_tool(command)
    if code:
        raise Permanent(f"'{' '.join(command)}' failed: {text or f'exit code {code}'}")


def _description(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return next((line.removeprefix("Description=") for line in lines if line.startswith("Description=")), "")


def _write(path: Path, text: str) -> Path:
    """Replace a file, so that no reader ever sees half of it. Raises Permanent."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text)
        with failpoint("service.rename"):
            os.rename(new, path)
    except OSError as error:
        raise Permanent(f"{path} cannot be written: {error.strerror}") from error
    return path


def _delete(path: Path) -> None:
    try:
        with failpoint("service.unlink"):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Permanent(f"{path} cannot be deleted: {error.strerror}") from error


def _home_folder() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user ID without an entry in the password database
        raise Permanent("the home folder of this user is unknown; set HOME") from None
