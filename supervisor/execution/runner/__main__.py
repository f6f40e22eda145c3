"""Run calls under another interpreter, in which this package is not installed.

The package is loaded from its folder under a private name. The folder is never on `sys.path`: a call must not import
one of these modules instead of its own module of the same name.
"""

import os
import sys
from importlib import import_module
from types import ModuleType

_NAME = "_backburner_runner"

if __name__ == "__main__":  # multiprocessing imports this file as well, in the processes that it spawns
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    _package = ModuleType(_NAME)
    _package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.modules[_NAME] = _package
    import_module(f"{_NAME}.main").main()
