"""The modules that calls have imported."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES, SourceFileLoader
from typing import Any

#: Nanoseconds for which installed packages, unlike the user's own modules, are assumed to be unchanged on disk.
_INSTALLED_CHECK_NS = 250_000_000


class Imports:
    """`sys.path`, and the modules that calls have loaded."""

    def __init__(self) -> None:
        """Regard the loaded modules as part of the runner, and leave `PYTHONPATH` to each call."""
        own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        self._base = [entry for entry in sys.path if entry not in own]
        self._list = sys.path
        self._path = list(sys.path)
        self._prefix: tuple[str, ...] | None = None
        self._preloaded = set(sys.modules)
        self._known = dict.fromkeys(sys.modules)
        self._files: dict[str, object] = {}
        self._installed: dict[str, object] = {}
        self._checked = 0
        self._record_stats()

    def are_current(self) -> bool:
        """Return True if all modules that calls have loaded are unchanged on disk."""
        if any([_stamp(path) != stamp for path, stamp in self._files.items()]):
            return False
        if self._installed and (now := time.monotonic_ns()) - self._checked >= _INSTALLED_CHECK_NS:
            self._checked = now
            return all(_stamp(path) == stamp for path, stamp in self._installed.items())
        return True

    def can_enter(self, prefix: tuple[str, ...], *, is_bound: bool) -> bool:
        """Return True unless modules of other folders than those in `prefix` are loaded and cannot be unloaded."""
        if prefix == self._prefix:
            return True
        return not is_bound and not any(map(_is_extension, self._modules_of(set(self._prefix or ()) - set(prefix))))

    def enter(self, prefix: tuple[str, ...]) -> None:
        """Put the folder of a call and its `PYTHONPATH` first, and forget modules of the last call's folders."""
        if prefix != self._prefix:
            for name in self._modules_of(set(self._prefix or ()) - set(prefix)):
                for path in _files_behind(sys.modules.pop(name)):
                    self._files.pop(path, None)
            self._known = dict.fromkeys(sys.modules)
            self._prefix = prefix
            self._path = [*prefix, *self._base]
            importlib.invalidate_caches()
        if sys.path is not self._list or sys.path != self._path:
            sys.path = self._list
            sys.path[:] = self._path

    def adopt(self) -> bool:
        """Keep an import's changes of `sys.path` for later calls. Return True if there are any."""
        changed = sys.path != self._path
        self._list, self._path = sys.path, list(sys.path)
        return changed

    def note_new(self) -> bool:
        """Record the files of newly loaded modules. Return True if there are any."""
        if len(sys.modules) == len(self._known):
            return False
        modules = dict(sys.modules)  # a copy, because a thread of the call may still be importing
        for name in modules.keys() - self._known.keys():
            for path in _files_behind(modules[name]):
                if path not in self._files and path not in self._installed:
                    self._record(path, _stamp(path))
        self._known = dict.fromkeys(modules)
        return True

    def _record(self, path: str, stamp: object) -> None:
        (self._installed if _is_installed(path) else self._files)[path] = stamp

    def _record_stats(self) -> None:
        """Record the stamp of each source file before it is read, because it may change afterwards."""
        original = SourceFileLoader.path_stats

        def path_stats(loader: SourceFileLoader, path: str) -> Any:
            self._record(path, _stamp(path))
            return original(loader, path)

        SourceFileLoader.path_stats = path_stats  # type: ignore[assignment,method-assign]

    def _modules_of(self, folders: set[str]) -> list[str]:
        """Return the names of modules whose topmost package was found in one of these folders of the path."""
        tops = {name for name in set(sys.modules) - self._preloaded if "." not in name and _home_of(name) & folders}
        return [name for name in sys.modules if name.partition(".")[0] in tops and name not in self._preloaded]


def _home_of(name: str) -> set[str]:
    """Return the folders of the path in which a topmost module was found."""
    module = sys.modules[name]
    inside = list(getattr(module, "__path__", ()))
    return {os.path.dirname(path) for path in inside or [getattr(module, "__file__", None) or ""]}


def _is_extension(name: str) -> bool:
    return (getattr(sys.modules[name], "__file__", None) or "").endswith(tuple(EXTENSION_SUFFIXES))


def _files_behind(module: Any) -> Iterator[str]:
    """Yield the files that define a module. For a namespace package, yield the files that would replace it."""
    archive = getattr(getattr(module, "__loader__", None), "archive", None)
    file = archive or getattr(module, "__file__", None)
    if isinstance(file, str):
        yield file
    else:
        yield from (os.path.join(folder, "__init__.py") for folder in getattr(module, "__path__", ()))


def _stamp(path: str) -> object:
    """Return what changes with a file. Two releases behind one link may have files of the same time and size."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _is_installed(path: str) -> bool:
    return "/site-packages/" in path or "/dist-packages/" in path or path.startswith(os.path.dirname(os.__file__) + "/")
