"""The configuration that a supervisor applied, for every process of the home to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config.settings import DEFAULT_BACKGROUND_CONFIG, OWN, BackgroundConfig
from .sqlite.database import Database


class Reload(NamedTuple):
    """One reading of the files, which has a name of its own, and why it changed nothing, if so."""

    number: str | None
    why_not: str | None


def apply_configuration(database: Database, config: BackgroundConfig, sources: Sequence[Path]) -> None:
    """Make this the configuration in force."""
    shared = {name: value for name, value in config.to_json().items() if name != OWN}
    values = {
        "config": json.dumps(shared),
        "default_concurrency": str(config.default_concurrency),
        "max_workers": str(config.max_workers),
        "sources": json.dumps([str(path) for path in sources]),
    }
    with database.write() as transaction:
        for name, value in values.items():
            transaction.run("set_applied_setting", {"name": name, "value": value})


def applied_configuration(database: Database) -> BackgroundConfig:
    """The configuration in force; the default where none was ever applied."""
    with database.read() as transaction:
        text = transaction.value("get_applied_setting", {"name": "config"})
    return DEFAULT_BACKGROUND_CONFIG if text is None else BackgroundConfig.from_json(json.loads(text))


def note_reload(database: Database, why_not: str | None) -> None:
    """Say that the files were read again, and why they were not applied, for whoever asked for it."""
    import uuid  # for the few who reload

    value = json.dumps({"number": str(uuid.uuid4()), "whyNot": why_not})
    with database.write(durable=False) as transaction:
        transaction.run("set_applied_setting", {"name": "reload", "value": value})


def last_reload(database: Database) -> Reload:
    """The last time that the files were read again."""
    with database.read() as transaction:
        text = transaction.value("get_applied_setting", {"name": "reload"})
    found = {} if text is None else json.loads(text)
    return Reload(found.get("number"), found.get("whyNot"))
