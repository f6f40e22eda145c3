"""The configuration that a supervisor applied, for every process of the home to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config.settings import DEFAULT_BACKGROUND_CONFIG, USER_ONLY, BackgroundConfig
from .interface import Store


class Reload(NamedTuple):
    """A reading of the files, by its unique name, and why it changed nothing, if so."""

    number: str | None
    why_not: str | None


def apply_configuration(store: Store, config: BackgroundConfig, sources: Sequence[Path]) -> None:
    """Make this the configuration in force."""
    shared = {name: value for name, value in config.to_json().items() if name != USER_ONLY}
    store.maintenance.apply_settings(
        {
            "config": json.dumps(shared),
            "default_concurrency": str(config.default_concurrency),
            "max_workers": str(config.max_workers),
            "sources": json.dumps([str(path) for path in sources]),
        }
    )


def applied_configuration(store: Store) -> BackgroundConfig:
    """Return the configuration in force; the default if none was ever applied."""
    text = store.maintenance.setting("config")
    return DEFAULT_BACKGROUND_CONFIG if text is None else BackgroundConfig.from_json(json.loads(text))


def note_reload(store: Store, why_not: str | None) -> None:
    """Record that the files were read again, and why they were not applied, for the process that asked for it."""
    import uuid  # only a reload needs it

    value = json.dumps({"number": str(uuid.uuid4()), "whyNot": why_not})
    store.maintenance.apply_settings({"reload": value}, durable=False)


def last_reload(store: Store) -> Reload:
    """Return the last time that the files were read again."""
    text = store.maintenance.setting("reload")
    found = {} if text is None else json.loads(text)
    return Reload(found.get("number"), found.get("whyNot"))
