"""Limit groups in SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import clock
from ...config.limits import Limits
from .claims import find_free_slot
from .file.database import Database
from .file.transaction import Transaction

if TYPE_CHECKING:
    from ...config.settings import BackgroundConfig
    from ..values import Group, Head


class SqliteLimits:
    """See `LimitStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def limits(self, config: BackgroundConfig) -> Limits:
        with self._database.read() as transaction:
            return load_limits(transaction, config)

    def groups(self) -> list[Group]:
        from ..values import Group  # a launch does not need it

        with self._database.read() as transaction:
            rows = transaction.fetch_all("list_groups")
        return [
            Group(row["name"], row["slot_limit"], row["running"], row["pending"], bool(row["paused"])) for row in rows
        ]

    def waiting(self) -> list[tuple[int, str]]:
        with self._database.read() as transaction:
            return [(row["head"], row["limit_group"]) for row in transaction.fetch_all("list_waiting_groups")]

    def head(self, group: str, limit: int, is_blocked: Callable[[str], bool] | None = None) -> Head | None:
        from ..values import Head  # a launch does not need it

        values: dict[str, object] = {"limit_group": group, "limit": limit}
        with self._database.read() as transaction:
            if is_blocked is None:
                row = transaction.fetch_one("count_ready", values)
            else:
                names = [key["name"] for key in transaction.fetch_all("list_keys") if key["limit_group"] == group]
                keys = json.dumps([name for name in names if is_blocked(name)])
                row = transaction.fetch_one("count_ready_without_keys", values | {"keys": keys})
        if row is None:
            return None
        return Head(row["number"], row["agent"] == "external", row["ready"], row["queued_at"], row["key"])

    def configure(self, config: BackgroundConfig) -> set[int]:

        def change(transaction: Transaction) -> None:
            transaction.run("clear_configured_limits")
            for name, limit in config.model_concurrency.items():
                transaction.run("configure_group", {"name": name, "slot_limit": limit})

        return self._change(change, config)

    def set_limit(self, key: str, limit: int | None, config: BackgroundConfig) -> set[int]:

        def change(transaction: Transaction) -> None:
            transaction.run("set_live_limit", {"name": key, "live": limit, "default": config.default_concurrency})

        return self._change(change, config)

    def _change(self, change: Callable[[Transaction], None], config: BackgroundConfig) -> set[int]:
        """Change limits if no worker holds a task. Otherwise, let workers take only one task at a time."""
        with self._database.write() as transaction:
            holders = _request_held(transaction, None)
            transaction.run("set_single", {"single": bool(holders)})
            if not holders:
                change(transaction)
                _regroup(transaction, config)
        return holders

    def pause(self, key: str, paused: bool, config: BackgroundConfig) -> tuple[str, set[int]]:
        with self._database.write() as transaction:
            group = _ensure_group(transaction, load_limits(transaction, config), key)
            transaction.run("pause_group", {"name": group, "paused": int(paused)})
            return group, _request_held(transaction, group) if paused else set()

    def request_held(self, group: str | None) -> set[int]:
        with self._database.write(durable=False) as transaction:
            return _request_held(transaction, group)

    def set_single(self, single: bool) -> None:
        with self._database.write(durable=False) as transaction:
            transaction.run("set_single", {"single": int(single)})


def load_limits(transaction: Transaction, config: BackgroundConfig) -> Limits:
    """Return the limits in force, or the limits of `config` until a supervisor has applied a configuration."""
    rows = transaction.fetch_all("list_limits")
    configured = {row["name"]: row["configured"] for row in rows if row["configured"] is not None}
    live = {row["name"]: row["live"] for row in rows if row["live"] is not None}
    default = transaction.setting("default_concurrency")
    if default is None:
        return Limits(config.default_concurrency, config.model_concurrency, live)
    return Limits(int(default), configured, live)


def assign_group(transaction: Transaction, limits: Limits, key: str) -> str:
    """Return the group of a key, and record the key, so that it is regrouped when limits change."""
    group = _ensure_group(transaction, limits, key)
    transaction.run("ensure_key", {"key": key, "limit_group": group})
    return group


def _ensure_group(transaction: Transaction, limits: Limits, key: str) -> str:
    group = limits.group(key)
    transaction.run("ensure_group", {"limit_group": group, "slot_limit": limits.limit(group)})
    return group


def _request_held(transaction: Transaction, group: str | None) -> set[int]:
    rows = transaction.fetch_all("request_held_of_group", {"limit_group": group, "now": clock.now()})
    return {row["owner"] for row in rows}


def _regroup(transaction: Transaction, config: BackgroundConfig) -> None:
    """Move every key and its unfinished tasks to their group under the limits in force. Record these limits."""
    limits = load_limits(transaction, config)
    for row in transaction.fetch_all("list_keys"):
        group = limits.group(row["name"])
        if group != row["limit_group"]:
            target = {"limit_group": group, "slot_limit": limits.limit(group)}
            _move(transaction, {"key": row["name"], "was": row["limit_group"], **target})
    transaction.run("delete_empty_groups")
    for row in transaction.fetch_all("list_groups"):
        transaction.run("set_slot_limit", {"name": row["name"], "slot_limit": limits.limit(row["name"])})
    transaction.run("bump_limits")


def _move(transaction: Transaction, values: dict[str, Any]) -> None:
    transaction.run("ensure_group", values)
    transaction.run("move_key", values)
    transaction.run("move_pending", values)
    for row in transaction.fetch_all("list_running_of_key", values):
        slot = find_free_slot(transaction, values["limit_group"])
        transaction.run("move_running", {**values, "number": row["number"], "slot": slot})
