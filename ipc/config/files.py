"""The configuration files: where they are, which ones are trusted, and the mistakes in them."""

from __future__ import annotations

import os
import re
import stat
from codecs import BOM_UTF8
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
    USER_ONLY,
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
    """The configuration from the files without mistakes, and the mistakes in the other files."""

    config: BackgroundConfig
    mistakes: list[ConfigMistake]


class Document(NamedTuple):
    """The settings of one source, before they are checked."""

    source: str
    values: Mapping[str, object]

    def mistakes(self) -> list[ConfigMistake]:
        """Return the mistakes that can be found without the other sources."""
        mistakes = [located(mistake, self.source) for mistake in CONFIG.mistakes(self.values)]
        # An empty value is accepted, because overrides may be a whole configuration, with every key.
        return mistakes + ([] if self._is_user_file() else self._misplaced())

    def _misplaced(self) -> list[ConfigMistake]:
        allowed = f"to be set only in the user's own file ({' or '.join(map(str, _user_file()))})"
        set_here = [name for name in USER_ONLY if self.values.get(name)]
        return [ConfigMistake(self.source, name, allowed, describe(self.values[name])) for name in set_here]

    def _is_user_file(self) -> bool:
        return self.source in map(str, _user_file())

    def sets(self, path: Sequence[str]) -> bool:
        """Return True if the source has a value at this path of keys."""
        value: object = self.values
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value is not None


def load(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> BackgroundConfig:
    """Return the configuration. The files override the defaults, and `overrides` override the files.

    Raises:
        BadConfiguration: A source has mistakes. The message names all of them.
    """
    config, mistakes = read(home, cwd, overrides)
    if mistakes:
        raise ConfigurationMistakes(mistakes)
    return config


def check(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> list[ConfigMistake]:
    """Return all mistakes in all files and in the overrides."""
    return read(home, cwd, overrides).mistakes


def read(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> Reading:
    """Return the usable configuration and all mistakes, for commands that continue with a warning."""
    readings = [read_file(path) for path in sources(home, cwd)]
    documents = [reading for reading in readings if isinstance(reading, Document)]
    if overrides is not None:
        documents.append(Document("flags", overrides))
    unreadable = [reading for reading in readings if isinstance(reading, ConfigMistake)]
    mistakes = [*unreadable, *chain.from_iterable(document.mistakes() for document in documents)]
    if not unreadable:  # otherwise an agent that seems to be missing may be in the unreadable file
        mistakes += _joint_mistakes(documents)
    return Reading(_usable([document for document in documents if not document.mistakes()]), mistakes)


def check_change(home: Home, cwd: Path | None, path: Path, values: Mapping[str, object]) -> list[ConfigMistake]:
    """Return the mistakes that one file would have with these settings, alone and beside the other files."""
    document = Document(str(path), values)
    paths = [*dict.fromkeys([*_user_file(), *_project_file(cwd), home.config, path])]
    readings = [document if one == path else read_file(one) for one in paths if one == path or os.path.lexists(one)]
    documents = [reading for reading in readings if isinstance(reading, Document)]
    joint = [mistake for mistake in _joint_mistakes(documents) if mistake.file == str(path)]
    return [*document.mistakes(), *joint]


def user_file() -> Path | None:
    """Return the path of the user's own file, which may not exist, or None if this user has no home folder."""
    return next(iter(_user_file()), None)


def project_file(home: Home, cwd: Path | None) -> Path:
    """Return the path of the project's file. If there is none yet, it belongs beside the state directory."""
    return next(iter(_project_file(cwd)), home.folder.parent / "backburner.toml")


def sources(home: Home, cwd: Path | None = None) -> list[Path]:
    """Return the existing configuration files. Later ones override earlier ones.

    The project's file is the nearest one in `cwd` or a folder above it.
    """
    candidates = [*_user_file(), *_project_file(cwd), home.config]
    return [path for path in candidates if os.path.lexists(path)]


def read_text(path: Path) -> str | ConfigMistake:
    """Return the text of a file, or the mistake that makes it unreadable."""
    return _text(path)


def read_file(path: Path) -> Document | ConfigMistake:
    """Return the settings of a file, or the mistake that makes it unreadable."""
    import tomllib

    text = _text(path)
    if isinstance(text, ConfigMistake):
        return text
    try:
        return Document(str(path), tomllib.loads(text))
    except ValueError as error:  # TOMLDecodeError is a ValueError, too
        return _syntax_mistake(path, text, str(error))
    except RecursionError:
        return ConfigMistake(str(path), "", "TOML that is not nested so deep")


def on_batch() -> tuple[str, ...]:
    """Return the command that runs for every batch, from the user's own file, or an empty tuple."""
    for path in _user_file():
        reading = read_file(path) if path.exists() else None
        if isinstance(reading, Document) and not reading.mistakes():
            return BackgroundConfig.of({"on_batch": reading.values.get("on_batch", [])}).on_batch
    return ()


def _joint_mistakes(documents: Sequence[Document]) -> Iterator[ConfigMistake]:
    """Yield the mistakes in the merged documents. Each is attributed to the last document that sets its key."""
    for inconsistency in inconsistencies(_merge(documents)):
        setters = [document.source for document in documents if document.sets(inconsistency.path[:2])]
        yield located(inconsistency.mistake, setters[-1])


def _merge(documents: Sequence[Document]) -> dict[str, Any]:
    empty: dict[str, Any] = {}
    return reduce(merged, (document.values for document in documents), empty)


def _usable(documents: Sequence[Document]) -> BackgroundConfig:
    try:
        return BackgroundConfig.of(_merge(documents))
    except BadConfiguration:
        return DEFAULT_BACKGROUND_CONFIG


def _user_file() -> list[Path]:
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    try:
        folder = folder if folder.is_absolute() else Path.home() / ".config"
    except RuntimeError:  # the home folder of this user is unknown
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
        return raw if isinstance(raw, ConfigMistake) else raw.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        return ConfigMistake(str(path), "", "UTF-8", line=error.object.count(b"\n", 0, error.start) + 1)
    except OSError as error:
        return ConfigMistake(str(path), "", "a file that can be read", error.strerror or str(error))


def _trusted_bytes(path: Path) -> bytes | ConfigMistake:
    """Return the content of a file that is trusted. The check and the reading use one descriptor.

    O_NONBLOCK keeps a named pipe from blocking this process.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if mismatch := _trust_mismatch(os.fstat(handle)):
            return ConfigMistake(str(path), "", *mismatch)
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _trust_mismatch(found: os.stat_result) -> tuple[str, str] | None:
    """Return what a file that is not trusted should be, and what it is. Return None for a trusted file."""
    if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_LIMIT:
        return f"a regular file of at most {FILE_LIMIT} bytes", "something else"
    if found.st_uid not in (os.geteuid(), 0):
        return "a file of yours or of root's", f"one that belongs to uid {found.st_uid}"
    if found.st_mode & 0o022:
        return "a file that others may not write (chmod go-w)", f"mode {stat.S_IMODE(found.st_mode):04o}"
    return None


def _syntax_mistake(path: Path, text: str, message: str) -> ConfigMistake:
    match = re.search(r"at line (\d+)", message)
    line = int(match[1]) if match else text.count("\n") + 1
    return ConfigMistake(str(path), "", f"valid TOML ({message})", line=line)
