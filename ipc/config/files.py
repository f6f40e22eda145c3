"""The configuration files: where they are, which of them are trusted, and every mistake in them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BadConfiguration
from ..mistakes import describe
from .agents import merged
from .settings import (
    CONFIG,
    DEFAULT_BACKGROUND_CONFIG,
    OWN,
    BackgroundConfig,
    ConfigMistake,
    ConfigurationMistakes,
    inconsistencies,
    located,
)

if TYPE_CHECKING:
    from ..home import Home

#: The largest configuration file, in bytes.
FILE_LIMIT = 1024 * 1024


class Reading(NamedTuple):
    """The configuration as far as it was usable (a file with mistakes does not count), and the mistakes."""

    config: BackgroundConfig
    mistakes: list[ConfigMistake]


class Document(NamedTuple):
    """One source of settings, as it stands: unchecked."""

    source: str
    values: Mapping[str, object]

    def mistakes(self) -> list[ConfigMistake]:
        """What is wrong with it, taken by itself."""
        found = [located(mistake, self.source) for mistake in CONFIG.mistakes(self.values)]
        # empty it says nothing: a whole configuration that is handed on has every key
        return found + ([_misplaced(self)] if self.values.get(OWN) and not self._is_own() else [])

    def _is_own(self) -> bool:
        return self.source in map(str, _user_file())

    def sets(self, path: Sequence[str]) -> bool:
        """Whether it says anything at this path of keys."""
        found: object = self.values
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found is not None


def load(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> BackgroundConfig:
    """What is in force: defaults, files, then overrides. Raises BadConfiguration, naming all mistakes."""
    config, mistakes = read(home, cwd, overrides)
    if mistakes:
        raise ConfigurationMistakes(mistakes)
    return config


def check(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> list[ConfigMistake]:
    """Every mistake in every file, and in the overrides."""
    return read(home, cwd, overrides).mistakes


def read(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> Reading:
    """What can be used, and what is wrong with the rest: for commands that go on with a warning."""
    readings = [read_file(path) for path in sources(home, cwd)]
    documents = [one for one in readings if isinstance(one, Document)]
    if overrides is not None:
        documents.append(Document("flags", overrides))
    unreadable = [one for one in readings if isinstance(one, ConfigMistake)]
    mistakes = [*unreadable, *chain.from_iterable(one.mistakes() for one in documents)]
    if not unreadable:  # an agent that seems missing may stand in a file that could not be read
        mistakes += _joint_mistakes(documents)
    return Reading(_usable([one for one in documents if not one.mistakes()]), mistakes)


def sources(home: Home, cwd: Path | None = None) -> list[Path]:
    """The files that count and are there, the weakest first; the project's is sought from `cwd` upward."""
    candidates = [*_user_file(), *_project_file(cwd), home.config]
    return [path for path in candidates if os.path.lexists(path)]


def read_file(path: Path) -> Document | ConfigMistake:
    """A file's settings, or why there are none."""
    import tomllib

    text = _text(path)
    if isinstance(text, ConfigMistake):
        return text
    try:
        return Document(str(path), tomllib.loads(text))
    except ValueError as error:  # of which TOML's own error is one
        return _syntax_mistake(path, text, str(error))
    except RecursionError:
        return ConfigMistake(str(path), "", "TOML that is not nested so deep")


def on_batch() -> tuple[str, ...]:
    """The command that the user wants told of every batch, read from the user's own file alone; empty: none."""
    for path in _user_file():
        found = read_file(path) if path.exists() else None
        if isinstance(found, Document) and not found.mistakes():
            return BackgroundConfig.of({OWN: found.values.get(OWN, [])}).on_batch
    return ()


def _joint_mistakes(documents: Sequence[Document]) -> Iterator[ConfigMistake]:
    """What is wrong with all documents together, blamed on the last one that has to do with it."""
    for found in inconsistencies(_together(documents)):
        blamed = [one.source for one in documents if one.sets(found.path[:2])]
        yield located(found.mistake, blamed[-1])


def _together(documents: Sequence[Document]) -> dict[str, Any]:
    empty: dict[str, Any] = {}
    return reduce(merged, (one.values for one in documents), empty)


def _usable(documents: Sequence[Document]) -> BackgroundConfig:
    try:
        return BackgroundConfig.of(_together(documents))
    except BadConfiguration:
        return DEFAULT_BACKGROUND_CONFIG


def _misplaced(document: Document) -> ConfigMistake:
    own = " or ".join(map(str, _user_file()))
    return ConfigMistake(
        document.source, OWN, f"it in the user's own file alone ({own})", describe(document.values[OWN])
    )


def _user_file() -> list[Path]:
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    try:
        folder = folder if folder.is_absolute() else Path.home() / ".config"
    except RuntimeError:  # nobody knows where this user is at home
        return []
    return [folder / "backburner" / "config.toml"]


def _project_file(cwd: Path | None) -> list[Path]:
    try:
        start = (cwd or Path()).absolute()
    except FileNotFoundError:  # the current folder was removed
        return []
    candidates = (folder / "backburner.toml" for folder in (start, *start.parents))
    return [path for path in candidates if os.path.lexists(path)][:1]


def _text(path: Path) -> str | ConfigMistake:
    try:
        raw = _trusted_bytes(path)
        return raw if isinstance(raw, ConfigMistake) else raw.decode()
    except UnicodeDecodeError as error:
        return ConfigMistake(str(path), "", "UTF-8", line=error.object.count(b"\n", 0, error.start) + 1)
    except OSError as error:
        return ConfigMistake(str(path), "", "a file that can be read", error.strerror or str(error))


def _trusted_bytes(path: Path) -> bytes | ConfigMistake:
    """What is in the file that was looked at, not in one that took its place; never waits for a pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if distrust := _distrust(os.fstat(handle)):
            return ConfigMistake(str(path), "", *distrust)
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _distrust(found: os.stat_result) -> tuple[str, str] | None:
    """What a file should have been, to be believed, and is instead."""
    if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_LIMIT:
        return f"a regular file of at most {FILE_LIMIT} bytes", "something else"
    if found.st_uid not in (os.geteuid(), 0):
        return "a file of yours or of root's", f"one that belongs to uid {found.st_uid}"
    if found.st_mode & 0o022:
        return "a file that others may not write (chmod go-w)", f"mode {stat.S_IMODE(found.st_mode):04o}"
    return None


def _syntax_mistake(path: Path, text: str, message: str) -> ConfigMistake:
    place = re.search(r"at line (\d+)", message)
    line = int(place[1]) if place else text.count("\n") + 1
    return ConfigMistake(str(path), "", f"valid TOML ({message})", line=line)
