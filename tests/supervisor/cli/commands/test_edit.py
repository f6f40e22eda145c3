from __future__ import annotations

import pytest

from tests.supervisor.cli.conftest import Cli, Tasks


def test_edit_changes_a_pending_task(cli: Cli, tasks: Tasks):
    id = tasks.pending(tags=("a",))
    words = ("--priority", "9", "-d", "later", "-k", "slow", "--tag", "b", "--timeout", "1h30m", "--delay", "1d")
    assert cli("edit", id[3:11], *words).out == f"{id[3:11]} pending\n"
    task = tasks.get(id)
    assert (task.priority, task.description, task.concurrency_key, task.tags) == (9, "later", "slow", ("b",))
    assert (task.timeout_ms, task.waiting_for) == (5_400_000, "delay")
    assert cli("edit", id, "--no-tags", "--delay", "0", "--retries", "2", "--json").json["tags"] == []
    assert (tasks.get(id).not_before, tasks.get(id).max_attempts) == (None, 3)


def test_task_that_has_started_is_not_changed(cli: Cli, tasks: Tasks):
    result = cli("edit", tasks.running(), "--priority", "9")
    assert result.code == 5
    assert "is not pending (running)" in result.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "give an option"),
        (("--key", ""), "--key must not be empty"),
        (("--tag", "a b"), "--tag: expected"),
        (("--tag", "a", "--no-tags"), "not both"),
        (("--at", "03:00", "--delay", "1h"), "not both"),
        (("--priority", "high"), "must be a whole number"),
    ],
)
def test_invalid_edit_is_refused_with_its_option(cli: Cli, tasks: Tasks, words: tuple[str, ...], why: str):
    result = cli("edit", tasks.pending(), *words)
    assert result.code == 2
    assert why in result.err
