"""Change a configuration file. Its other lines stay, and a reader sees the old file or the new one."""

from __future__ import annotations

import fcntl
import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ....ipc.config.files import check_change, project_file, read_text, user_file
from ....ipc.config.settings import ConfigMistake, ConfigurationMistakes
from ....ipc.errors import BadHome, InvalidInput
from ....ipc.failpoints import failpoint
from ....ipc.home import current_folder, sync
from ..context import Context

#: The permissions of a new file, less those that its folder lacks. A file that others may write is not read.
MODE = 0o644


def chosen_file(context: Context, is_user: bool, in_home: bool) -> Path:
    """Return the file that the options choose, by default the project's. Raises BadHome, InvalidInput."""
    if is_user and in_home:
        raise InvalidInput("give --user or --in-home, not both")
    if in_home:
        return context.home.prepare().config
    if not is_user:
        return project_file(context.home, current_folder())
    path = user_file()
    if path is None:
        raise BadHome("the home folder of this user is unknown; set XDG_CONFIG_HOME")
    return path


def change_file(context: Context, path: Path, change: Callable[[str], str]) -> None:
    """Change the text of a file, which may be missing.

    Raises ConfigurationMistakes if it cannot be read now, and InvalidInput if it would have a mistake afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        text = read_text(path) if os.path.lexists(path) else ""
        if isinstance(text, ConfigMistake):
            raise ConfigurationMistakes([text])
        changed = change(_require_toml(path, text))
        mistakes = check_change(context.home, current_folder(), path, tomllib.loads(changed))
        if mistakes:
            raise InvalidInput("; ".join(str(mistake._replace(file="", line=None)) for mistake in mistakes))
        _replace(path, changed)


def create_file(path: Path, text: str) -> None:
    """Create a file. Raises FileExistsError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        if os.path.lexists(path):
            raise FileExistsError(path)
        _replace(path, text)


def _require_toml(path: Path, text: str) -> str:
    try:
        tomllib.loads(text)
    except ValueError as error:
        raise ConfigurationMistakes([ConfigMistake(str(path), "", f"valid TOML ({error})")]) from None
    return text


def _replace(path: Path, text: str) -> None:
    """Replace the content of a file at once. A symbolic link stays, and the permissions too."""
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else MODE & target.parent.stat().st_mode
    draft = target.with_name(f".{target.name}.new")  # one that a killed command left is overwritten
    try:
        with open(draft, "w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        sync(draft)
        with failpoint("config.rename"):
            os.replace(draft, target)
    except BaseException:
        with failpoint("config.unlink"):
            draft.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other commands from changing a file of this folder. The lock ends with this process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
