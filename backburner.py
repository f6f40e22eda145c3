"""The door: everything that `ipc` offers, and the command line as `python -m backburner`."""

from ipc import *
from ipc import __all__ as __all__

if __name__ == "__main__":
    from supervisor.cli import main

    raise SystemExit(main())
