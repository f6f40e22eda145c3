"""The names of functions, by which another process finds them."""

from __future__ import annotations

import sys
from functools import reduce
from typing import Any

from ..errors import InvalidInput


def name_of(function: Any, field: str) -> str:
    """Return "module:function" for a function of a module. Raises InvalidInput, which names `field`.

    The process that runs the call imports the module, so that it finds only what the module still has by that name.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)):
        raise InvalidInput(f"{field}: {type(function).__name__} has no name; give a function of a module", field="call")
    if module == "__main__":
        raise InvalidInput(
            f"{field}: {name} is defined in the program that is running, which the task cannot import; "
            "move it to a module",
            field="call",
        )
    if "<" in name:
        raise InvalidInput(
            f"{field}: {name} is defined inside a function; give a function at the top of a module", field="call"
        )
    if reduce(lambda found, step: getattr(found, step, None), name.split("."), sys.modules.get(module)) != function:
        raise InvalidInput(
            f"{field}: {module} has another {name}; give a function that it has by its own name", field="call"
        )
    return f"{module}:{name}"
