"""A function in its own process: a JSON line carries the arguments, another one the result.

The function is named by `module:factory`. The factory is called once, in the process, and returns the function.
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

_BOOTSTRAP = "from scripts.bench_parts.remote import serve; serve()"

#: The folder from which a process imports this module; the environments of other systems have no test helpers.
_ROOT = str(Path(__file__).resolve().parents[2])

#: Seconds after which a result is given up.
TIMEOUT = 600.0


class Remote:
    """The near end."""

    def __init__(
        self,
        factory: str,
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Start the process. It finds this module behind everything that its environment names."""
        inherited = dict(os.environ if environment is None else environment)
        path = [inherited["PYTHONPATH"]] if inherited.get("PYTHONPATH") else []
        self._process = subprocess.Popen(
            [python, "-P", "-c", _BOOTSTRAP, factory, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=inherited | {"PYTHONPATH": os.pathsep.join([*path, _ROOT])},
        )
        self.pid = self._process.pid
        self._unread = b""

    def start(self, **arguments: object) -> None:
        """Call the function without waiting for its result."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        """Wait for the next result. Raises TimeoutError, and ConnectionError if the process died."""
        while b"\n" not in self._unread:
            self._unread += self._read()
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def _read(self) -> bytes:
        assert self._process.stdout is not None, "it is a pipe"
        if not select.select([self._process.stdout], [], [], TIMEOUT)[0]:
            raise TimeoutError(f"no result in {TIMEOUT:g} s")
        data = os.read(self._process.stdout.fileno(), 1 << 20)
        if not data:
            raise ConnectionError(f"the process ended with exit code {self._process.wait()}")
        return data

    def call(self, **arguments: object) -> Any:
        """Call the function and return its result."""
        self.start(**arguments)
        return self.result()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve() -> None:
    """At the far end: answer calls until stdin ends."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)(*json.loads(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(function(**json.loads(line))), file=results, flush=True)


def is_called(seconds: float) -> bool:
    """At the far end: wait for another call, and return True if one has come."""
    return bool(select.select([0], [], [], seconds)[0])
