"""The helpers of other tests."""

from __future__ import annotations

import ast
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import processes
from tests.helpers.blackbox import StalePatch, apply_patch
from tests.helpers.commands import backburner
from tests.helpers.invariants import BATCH_SENT
from tests.helpers.journals import Journal, journal_lines
from tests.helpers.places import ROOT
from tests.helpers.processes import (
    describe,
    fail_if_left,
    is_alive,
    is_stopped,
    kill,
    processes_of,
    send_signal,
    status_of,
)
from tests.helpers.rpc import Refused, RpcClient, Subscriber
from tests.helpers.wait import WaitTimeout, eventually

WAIT_FOR_STDIN = [sys.executable, "-c", "input()"]


def test_eventually_returns_the_value_of_the_predicate():
    counter = itertools.count()
    assert eventually(lambda: next(counter) >= 3 and "there") == "there"


def test_eventually_names_its_condition_and_the_last_value():
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for the moon; last seen: 0"):
        eventually(lambda: 0, timeout=0.01, message="the moon")


def test_eventually_without_a_message_shows_the_predicate():
    with pytest.raises(AssertionError, match="an_unlikely_name"):
        eventually(lambda an_unlikely_name=0: an_unlikely_name, timeout=0.01)


def test_home_has_a_short_path_and_is_named_by_the_environment(home: Path):
    assert len(os.fsencode(home / "bus.sock")) < 60
    assert os.environ["BACKBURNER_HOME"] == str(home)


def test_process_of_a_home_is_found_until_it_ends(home: Path):
    with subprocess.Popen(WAIT_FOR_STDIN, stdin=subprocess.PIPE) as process:
        assert [one.pid for one in processes_of(home)] == [process.pid]
        assert f"{process.pid} " in describe(processes_of(home))
    assert processes_of(home) == []


def test_process_of_another_home_is_not_found(home: Path):
    elsewhere = os.environ | {"BACKBURNER_HOME": str(home.parent / "other")}
    with subprocess.Popen(WAIT_FOR_STDIN, stdin=subprocess.PIPE, env=elsewhere):
        assert processes_of(home) == []


def test_no_strays_accepts_a_test_that_ends_its_processes(no_strays: None):
    subprocess.run(WAIT_FOR_STDIN, input=b"\n", check=True)


@pytest.mark.parametrize("name", ["blackbox", "invariants", "journals", "processes", "rpc", "wait"])
def test_black_box_kit_imports_nothing_of_backburner(name: str):
    tree = ast.parse((ROOT / "tests" / "helpers" / f"{name}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert [module for module in imported if module.partition(".")[0] in ("backburner", "ipc", "supervisor")] == []


def test_killed_process_is_dead_and_a_zombie_is_not_alive():
    with subprocess.Popen(WAIT_FOR_STDIN, stdin=subprocess.PIPE) as process:
        assert is_alive(process.pid)
        kill(process.pid)
        assert not is_alive(process.pid)
        assert not send_signal(process.pid, 0) or status_of(process.pid) == "zombie"


def test_stopped_process_is_recognised():
    with subprocess.Popen(WAIT_FOR_STDIN, stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: is_stopped(process.pid))
        process.send_signal(signal.SIGCONT)


def test_processes_left_by_a_test_are_reported_and_killed(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "LEFT_TIMEOUT", 0.05)
    with subprocess.Popen(WAIT_FOR_STDIN, stdin=subprocess.PIPE) as process:
        with pytest.raises(WaitTimeout, match=f"{process.pid} python"):
            fail_if_left(home)
        assert process.wait(10) == -signal.SIGKILL


def test_journal_keeps_whole_lines_only(tmp_path: Path):
    path = tmp_path / "journal"
    Journal(path).note("started", id="bg-1")
    with path.open("a") as file:
        file.write('{"what": "to')
    assert [(line["what"], line["id"]) for line in journal_lines(path)] == [("started", "bg-1")]


def test_patch_is_refused_unless_its_fragment_occurs_once(tmp_path: Path):
    path = tmp_path / "module.py"
    path.write_text("a = 1\nb = 1\n")
    apply_patch(tmp_path, "module.py", "a = 1", "a = 2")
    assert path.read_text() == "a = 2\nb = 1\n"
    for old in ("a = 1", "= "):
        with pytest.raises(StalePatch):
            apply_patch(tmp_path, "module.py", old, "")


def test_rpc_client_separates_results_errors_and_notifications(supervised: Path):
    with RpcClient(supervised / "bus.sock") as client:
        assert client.call("ping")
        with pytest.raises(Refused, match="-32601"):
            client.call("nonesuch")
        client.call("subscribe", parentSessionId="ses-1", after=0)
        id = client.call("launch", agent="external", prompt="x", parentSessionId="ses-1")["id"]
        assert next(client.events())["taskId"] == id


def test_subscriber_continues_behind_its_last_event(supervised: Path):
    received: list[dict[str, Any]] = []
    subscriber = Subscriber(supervised / "bus.sock", "ses-1", received.append)
    subscriber.start()
    for number in (1, 2):
        id = backburner(supervised, "launch", "--agent", "external", "--parent", "ses-1", "x").stdout.strip()
        assert backburner(supervised, "cancel", id).returncode == 0
        eventually(lambda number=number: [one["type"] for one in received].count(BATCH_SENT) == number)
        kill(next(one.pid for one in processes_of(supervised) if one.role == "flusher"))
    eventually(lambda: subscriber.connections >= 3)
    subscriber.close()
    subscriber.check()
    assert [one["seq"] for one in received] == sorted({one["seq"] for one in received})
