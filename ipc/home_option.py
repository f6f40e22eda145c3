"""The rule of `--home DIR`: it names a state directory, or a folder that can become one."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import BadHome, InvalidInput
from .home import NAME, Home

#: What a state directory without a database may contain: our files, and those that a person or a file system puts
#: there.
OWN_FILES = tuple(
    "input output commits config.toml lost+found *.lock *.wake *.sock supervisor.log* backburner.db* damaged-*"
    " scratch-* web.json reserve".split()
)


def check_home_option(option: str, home: Home, only_reads: bool) -> None:
    """Refuse a folder with the files of another program, and for a command that only reads, a missing folder.

    Where BACKBURNER_HOME names the same folder, that counts: the processes that we start get both.

    Raises InvalidInput, BadHome.
    """
    if not option:
        raise InvalidInput("--home must not be empty")
    if os.environ.get("BACKBURNER_HOME") != option:
        _refuse_foreign(option, home, _names(option, home, only_reads))


def _names(option: str, home: Home, only_reads: bool) -> list[str]:
    try:
        return os.listdir(home.folder)
    except FileNotFoundError:
        if only_reads:
            raise InvalidInput(f"--home {option}: there is no such folder") from None
    except NotADirectoryError:
        raise BadHome(f"The home {home.folder} is not a folder.") from None
    except OSError:  # another user's folder, for which `Home.check` has the message
        pass
    return []


def _refuse_foreign(option: str, home: Home, names: list[str]) -> None:
    if home.database.name not in names and any(_is_foreign(home.folder, name) for name in names):
        raise InvalidInput(
            f"--home {option} is not a state directory: it holds other files; did you mean"
            f" --home {os.path.join(option, NAME)}?"
        )


def _is_foreign(folder: Path, name: str) -> bool:
    from fnmatch import fnmatch

    if name == ".gitignore":  # ours ignores everything
        try:
            return (folder / name).read_bytes() != b"*\n"
        except OSError:
            return True
    return not any(fnmatch(name, pattern) for pattern in OWN_FILES)
