"""The interpreters of calls."""

from __future__ import annotations

import os
import sys
from functools import lru_cache


@lru_cache(64)
def is_own(interpreter: str) -> bool:
    """Return True if an interpreter has the `sys.prefix` and the version of this process."""
    if interpreter == sys.executable:
        return True
    return _binary(interpreter) == _binary(sys.executable) and _prefix(interpreter) == _prefix(sys.executable)


def _binary(interpreter: str) -> str:
    return os.path.realpath(interpreter)


def _prefix(interpreter: str) -> str:
    """Return the folder of a virtual environment, or the prefix of the binary. The module `site` finds it like this."""
    folder = os.path.dirname(os.path.abspath(interpreter))
    for environment in (folder, os.path.dirname(folder)):
        if os.path.isfile(os.path.join(environment, "pyvenv.cfg")):
            return os.path.realpath(environment)
    return os.path.dirname(os.path.dirname(_binary(interpreter)))
