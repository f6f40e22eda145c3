"""The configuration that a supervisor has applied; all processes of the home read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..config.settings import DEFAULT_BACKGROUND_CONFIG, BackgroundConfig

if TYPE_CHECKING:
    from .interface import Store


class Reload(NamedTuple):
    """A reload of the configuration files: its unique number, and the reason if it was not applied."""

    number: str | None
    refusal: str | None


def apply_configuration(store: Store, config: BackgroundConfig, sources: Sequence[Path]) -> None:
    """Make this the configuration in force."""
    shared = {name: value for name, value in config.to_json().items() if name != "on_batch"}
    store.maintenance.apply_settings(
        {
            "config": json.dumps(shared),
            "default_concurrency": str(config.default_concurrency),
            "max_workers": str(config.max_workers),
            "sources": json.dumps([str(path) for path in sources]),
        }
    )


def applied_configuration(store: Store) -> BackgroundConfig:
    """Return the configuration in force, or the default if none was ever applied."""
    text = store.maintenance.setting("config")
    return DEFAULT_BACKGROUND_CONFIG if text is None else BackgroundConfig.from_json(json.loads(text))


def record_reload(store: Store, refusal: str | None) -> None:
    """Record a reload, and the reason if it was not applied, for the process that requested it."""
    import uuid  # only a reload needs it

    value = json.dumps({"number": str(uuid.uuid4()), "whyNot": refusal})
    store.maintenance.apply_settings({"reload": value}, durable=False)


def last_reload(store: Store) -> Reload:
    """Return the last reload."""
    text = store.maintenance.setting("reload")
    record = {} if text is None else json.loads(text)
    return Reload(record.get("number"), record.get("whyNot"))
