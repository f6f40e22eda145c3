"""A command of the user's is told of a batch until it succeeds, however often it fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from selectors import DefaultSelector

import pytest

from backburner.supervisor.integrations import on_batch
from backburner.supervisor.integrations.on_batch import CONSUMER, EVERYONE, Herald
from tests.helpers.wait import eventually
from tests.helpers.yard import Yard

#: Notes that it was called, and waits while it is held; fails while its file says that it has not failed often enough.
SCRIPT = """\
#!/bin/sh
echo called >> "$1/calls"
while [ -e "$1/hold" ]; do sleep 0.05; done
[ "$(wc -l < "$1/calls")" -gt "$(cat "$1/failures")" ]
"""
LONG = 10_000.0


@pytest.fixture
def ear(tmp_path: Path) -> Path:
    """A folder with a command, which the user's configuration names."""
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    name(ear=tmp_path)
    return tmp_path


def name(ear: Path | None) -> None:
    """Have the user's configuration name that command, or none."""
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"on_batch = {json.dumps([str(ear / 'script'), str(ear)] if ear else [])}\n")


def fail(ear: Path, times: int) -> None:
    (ear / "failures").write_text(str(times))


def calls(ear: Path) -> int:
    path = ear / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def batch(yard: Yard) -> None:
    yard.run(parent_session_id="P")
    yard.log.form_batch("P", 5)


def until_told(yard: Yard, crier: Herald) -> None:
    """Take turns until all is told."""
    crier.stir()

    def told() -> bool:
        crier.turn()
        return yard.log.cursor(EVERYONE, CONSUMER) == yard.log.last_seq()

    eventually(told, 50)


def test_a_command_that_fails_twenty_times_is_told_at_last_and_the_log_is_not_full_of_it(
    yard, ear, monkeypatch, capsys
):
    monkeypatch.setattr(on_batch, "LAST_REST", 0.0)
    fail(ear, 20)
    crier = Herald(DefaultSelector(), yard.log)
    batch(yard)
    until_told(yard, crier)
    assert calls(ear) == 21
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == on_batch.TOLD + 1
    assert "10 times; it is tried on without a word" in lines[-2]
    assert "after 20 failures" in lines[-1]


def test_what_failed_often_the_next_flusher_goes_on_with(yard, ear, monkeypatch):
    monkeypatch.setattr(on_batch, "LAST_REST", 0.0)
    fail(ear, 15)
    crier = Herald(DefaultSelector(), yard.log)
    batch(yard)
    crier.stir()
    eventually(lambda: (crier.turn(), calls(ear) >= 12)[1], 50)
    crier.leave()
    until_told(yard, Herald(DefaultSelector(), yard.log))
    assert calls(ear) >= 16


def test_a_command_that_was_mended_is_tried_at_once(yard, ear, monkeypatch):
    monkeypatch.setattr(on_batch, "FIRST_REST", LONG)
    monkeypatch.setattr(on_batch, "LAST_REST", LONG)
    fail(ear, 1)
    crier = Herald(DefaultSelector(), yard.log)
    batch(yard)
    crier.stir()
    eventually(lambda: (crier.turn() or 0.0) > on_batch.PATIENCE, 50, "it to rest")
    crier.configure()
    until_told(yard, crier)
    assert calls(ear) == 2


@pytest.mark.parametrize("how", ["when it has ended", "while it runs"])
@pytest.mark.parametrize("failures", [0, 1])
def test_a_command_taken_away_while_it_runs_and_named_again_hears_of_nothing_old(yard, ear, how, failures):
    fail(ear, failures)
    (ear / "hold").touch()
    crier = Herald(DefaultSelector(), yard.log)
    batch(yard)
    batch(yard)
    crier.stir()
    eventually(lambda: (crier.turn(), calls(ear) == 1)[1], 50)
    name(ear=None)
    crier.configure()
    if how == "when it has ended":
        (ear / "hold").unlink()
        eventually(lambda: crier.turn() is None, 50)
        assert CONSUMER not in yard.log.cursors(EVERYONE)
    batch(yard)
    name(ear=ear)
    crier.configure()
    (ear / "hold").unlink(missing_ok=True)
    batch(yard)
    until_told(yard, crier)
    assert calls(ear) == 2


@pytest.mark.parametrize(("tries", "rest"), [(1, 1.0), (2, 2.0), (9, 256.0), (10, 300.0), (11, 300.0), (10**6, 300.0)])
def test_tries_come_later_and_later_up_to_a_bound(tries, rest):
    assert on_batch.rest_after(tries) == rest
