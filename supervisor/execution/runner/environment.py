"""The environment variables of calls."""

from __future__ import annotations

import json
import os
import time
from fnmatch import fnmatchcase
from typing import Any

from .system import LINUX, libc


class Environment:
    """The environment variables and the time zone of the current call."""

    def __init__(self, hello: dict[str, Any]) -> None:
        """Take the variables that are common to all calls from the hello."""
        self._base: dict[str, str] = hello["environment"]
        self._given: dict[str, str] = hello["given"]
        self._inherited: dict[str, str] = hello["inherited"]
        self._environ = os.environ
        self._targets: dict[tuple[str | None, str | None], dict[str, str]] = {}
        self._native = _NativeEnvironment()
        self._effects: dict[str, tuple[str | None, str | None]] = {}
        self._target: dict[str, str] | None = None
        self._marks: dict[str, str] = {}
        self._current: dict[str, str] = {}
        self._known: dict[bytes, bytes] = {}
        self._reset()

    def target(self, launcher: str | None, named: str | None) -> dict[str, str]:
        """Return the environment of a call, without the marks."""
        target = self._targets.get((launcher, named))
        if target is None:
            if len(self._targets) >= 8:
                self._targets.clear()
            target = self._targets[launcher, named] = self._layers(
                json.loads(launcher or "{}"), json.loads(named or "{}")
            )
        return target

    def _layers(self, launcher: dict[str, str | None], named: dict[str, str | None]) -> dict[str, str]:
        """Return the inherited variables with those of the launcher, of the agent and of the launch over them."""
        absent = [name for name, value in launcher.items() if value is None]
        base = {
            name: value
            for name, value in self._base.items()
            if not any(fnmatchcase(name, pattern) for pattern in absent)
        }
        values = {name: self._inherited.get(name) if value is None else value for name, value in named.items()}
        merged: dict[str, str | None] = {**base, **launcher, **self._given, **values}
        return {name: value for name, value in merged.items() if value is not None}

    def enter(self, target: dict[str, str], marks: dict[str, str]) -> None:
        """Make an environment the current one, whatever the last call has changed."""
        if os.environ is not self._environ or not self._is_unchanged():
            self._reset()
        if target is self._target and marks.keys() == self._marks.keys():
            self._change(self._marks, marks)
        else:
            self._change(self._current, self._with_effects(target | marks))
        self._target, self._marks = target, marks
        if self._zone != _zone():
            time.tzset()
        self._remember()

    def adopt(self) -> bool:
        """Keep an import's changes for later calls, which do not repeat the import. Return True if there are any."""
        if self._is_unchanged():
            return False
        environment = dict(os.environ)
        for name in environment.keys() | self._current.keys():
            if (before := self._current.get(name)) != (after := environment.get(name)):
                self._effects[name] = (before, after)
        self._current = environment
        self._known = dict(os.environ._data)  # type: ignore[attr-defined]
        self._native.forget()
        self._remember()
        return True

    def _with_effects(self, values: dict[str, str]) -> dict[str, str]:
        for name, (before, after) in self._effects.items():
            if values.get(name) == before and after is not None:
                values[name] = after
            elif values.get(name) == before:
                values.pop(name, None)
        return values

    def _change(self, before: dict[str, str], after: dict[str, str]) -> None:
        variables = self._environ._data  # type: ignore[attr-defined]
        is_zone_changed = before.get("TZ") != after.get("TZ")
        for name in before.keys() - after.keys():
            key = os.fsencode(name)
            self._native.unset(key)
            del variables[key], self._known[key], self._current[name]
        for name, value in after.items() - before.items():
            key, data = os.fsencode(name), os.fsencode(value)
            self._native.put(key, data)
            variables[key] = self._known[key] = data
            self._current[name] = value
        if is_zone_changed:
            time.tzset()

    def _is_unchanged(self) -> bool:
        return bool(self._known == os.environ._data and self._native.is_unchanged())  # type: ignore[attr-defined]

    def _remember(self) -> None:
        self._native.remember(len(self._current))
        self._zone = _zone()

    def _reset(self) -> None:
        os.environ = self._environ  # noqa: B003 (the object that the interpreter made)
        os.environ.clear()
        self._native.clear()
        time.tzset()
        self._current, self._known = {}, {}
        self._target, self._marks = None, {}
        self._remember()


def _zone() -> tuple[Any, ...]:
    return time.tzname, time.timezone, time.altzone


class _NativeEnvironment:
    """The C library's `environ`, to notice changes that bypass `os.environ` (Linux with ctypes only)."""

    def __init__(self) -> None:
        self._libc = libc() if LINUX else None
        self._address: int | None = None
        self._is_moved = True
        self._buffers: dict[bytes, Any] = {}
        self._retained: list[dict[bytes, Any]] = []
        if self._libc is not None:
            import ctypes

            self._pointer = ctypes.c_void_p
            self._new_buffer = ctypes.create_string_buffer
            self._environ = self._pointer.in_dll(self._libc, "environ")

    def put(self, name: bytes, value: bytes) -> None:
        """Set a variable in reused memory, because setenv(3) never frees a value and would leak at each call."""
        if self._libc is None:
            os.putenv(name, value)
            return
        text = b"%b=%b" % (name, value)
        buffer = self._buffers.get(name)
        if buffer is None or len(text) >= len(buffer):
            buffer = self._new_buffer(max(256, 2 * len(text)))
            buffer.value = text
            self._libc.putenv(buffer)
            self._buffers[name] = buffer  # last, because this frees the old buffer
            self._is_moved = True
        else:
            buffer.value = text

    def unset(self, name: bytes) -> None:
        """Remove a variable."""
        os.unsetenv(name)
        self._buffers.pop(name, None)
        self._is_moved = True

    def remember(self, count: int) -> None:
        """Remember the array of pointers, which has `count` entries and a terminating null."""
        if self._libc is not None and self._is_moved:
            self._is_moved = False
            self._address = self._environ.value
            array: Any = self._pointer * (count + 1)
            self._array = (
                memoryview(array.from_address(self._address)) if self._address is not None else memoryview(b"")
            )
            self._seen = self._array.tobytes()

    def is_unchanged(self) -> bool:
        """Return True if the array is unchanged. setenv(3), putenv(3) and unsetenv(3) change a pointer in it."""
        return self._libc is None or (self._environ.value == self._address and self._array.tobytes() == self._seen)

    def forget(self) -> None:
        """Remember the array again next time, because an import has changed it."""
        self._is_moved = True
        self._retained.append(self._buffers)  # the array may still point to them
        self._buffers = {}

    def clear(self) -> None:
        """Remove all variables, including those that are missing in `os.environ`."""
        if self._libc is not None:
            self._libc.clearenv()
        self._buffers.clear()
        self._retained.clear()
        self._is_moved = True
