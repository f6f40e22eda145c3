"""The command line as `python -m backburner`."""

from .supervisor.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
