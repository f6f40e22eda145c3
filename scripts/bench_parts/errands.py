"""A process that does errands: a JSON line asks, a JSON line answers. What is measured runs in processes of its own.

An errand is named `module:factory`; the factory is called once, in the process, and gives the function that answers.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BOOTSTRAP = "from scripts.bench_parts.errands import serve; serve()"

#: The folder from which a process imports this module, after all that its environment names.
_ROOT = str(Path(__file__).resolve().parents[2])

#: Seconds after which an answer is given up.
PATIENCE = 600.0


class Errand:
    """The near end."""

    def __init__(
        self,
        factory: str,
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Start the process."""
        found = dict(os.environ if environment is None else environment)
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [found.get("PYTHONPATH"), _ROOT]))
        self._process = subprocess.Popen(
            [python, "-P", "-c", _BOOTSTRAP, factory, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=found,
        )
        self.pid = self._process.pid
        self._unread = b""

    def ask(self, **request: object) -> None:
        """Send it off."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What came of it. Raises TimeoutError, and ConnectionError where the process died."""
        while b"\n" not in self._unread:
            self._unread += self._piece()
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def _piece(self) -> bytes:
        assert self._process.stdout is not None, "it is a pipe"
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise TimeoutError(f"no answer in {PATIENCE:g} s")
        piece = os.read(self._process.stdout.fileno(), 1 << 20)
        if not piece:
            raise ConnectionError(f"an errand ended with exit code {self._process.wait()}")
        return piece

    def call(self, **request: object) -> Any:
        """Ask, and wait for the answer."""
        self.ask(**request)
        return self.answer()

    def close(self) -> None:
        """Have it end."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve() -> None:
    """The far end: answer until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    answer = getattr(importlib.import_module(module), name)(*json.loads(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)


def is_asked(seconds: float) -> bool:
    """In the process: rest so long; whether something was asked meanwhile."""
    return bool(select.select([0], [], [], seconds)[0])
