"""Commands on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from backburner.ipc import clock
from backburner.ipc.api.control import program

#: Seconds to wait for text.
TIMEOUT = 20.0


class Terminal:
    """One command whose stdin, stdout and stderr are a terminal."""

    def __init__(
        self,
        *words: str,
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        columns: int = 0,
        lines: int = 24,
    ) -> None:
        """Start a command. A terminal with 0 columns does not report its size."""
        self._master, slave = pty.openpty()
        self.resize(columns, lines if columns else 0)
        self.process = subprocess.Popen(
            program(*words),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", **(variables or {})},
            cwd=cwd,
            preexec_fn=_control_terminal,
        )
        os.close(slave)
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    @property
    def plain(self) -> str:
        """The text without colours and carriage returns."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text).replace("\r\n", "\n")

    def see(self, pattern: str) -> re.Match[str]:
        """Read until the text matches this pattern."""
        end = clock.monotonic() + TIMEOUT
        while not (found := re.search(pattern, self.plain)):
            assert clock.monotonic() < end, f"waited for {pattern!r}, saw: {self.plain!r}"
            if not self._read():
                raise AssertionError(f"it ended without {pattern!r}: {self.plain!r}")
        return found

    def press(self, keys: bytes) -> None:
        """Send keys."""
        os.write(self._master, keys)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size."""
        termios.tcsetwinsize(self._master, (lines, columns))

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self.process.wait(TIMEOUT)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], TIMEOUT)
        assert ready, f"no more text for {TIMEOUT} s after: {self.plain!r}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


def _control_terminal() -> None:
    os.setsid()
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
