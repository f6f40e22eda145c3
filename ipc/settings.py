"""The configuration that a supervisor applied, for every process of the home to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ipc.config import DEFAULT_BACKGROUND_CONFIG, OWN, BackgroundConfig
from ipc.database import Database


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
            transaction.run("apply_setting", {"name": name, "value": value})


def applied_configuration(database: Database) -> BackgroundConfig:
    """The configuration in force; the default where none was ever applied."""
    with database.read() as transaction:
        text = transaction.value("applied_setting", {"name": "config"})
    return DEFAULT_BACKGROUND_CONFIG if text is None else BackgroundConfig.from_json(json.loads(text))
