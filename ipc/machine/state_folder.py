"""The user's folder for what all state directories share: $XDG_STATE_HOME/backburner."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Return the folder, which may not exist. Raises OSError if the user has no home directory."""
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    if named.is_absolute():
        return named / "backburner"
    try:
        return Path.home() / ".local" / "state" / "backburner"
    except RuntimeError as error:
        raise FileNotFoundError("the user's home directory is unknown") from error


def prepare_state_folder(*names: str) -> Path:
    """Return a folder within the state folder, created if it is missing. Raises OSError."""
    folder = state_folder().joinpath(*names)
    folder.mkdir(0o700, parents=True, exist_ok=True)
    return folder
