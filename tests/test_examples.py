"""The examples and the demonstration do what they show."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.ipc.machine.lock import holder
from tests.helpers.commands import backburner
from tests.helpers.places import ROOT, checkout_only

NODE = shutil.which("node")

with_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def events(home: Path, parent: str, *words: str) -> list[dict]:
    """Return the events of a session."""
    done = backburner(home, "listen", "--parent", parent, "--until-now", "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@with_node
def test_node_client_receives_each_event_once_when_the_flusher_is_killed(supervised: Path):
    # The client receives the first end, loses its connection, and continues after the last event that it received.
    gate = supervised.parent / "gate"
    os.mkfifo(gate)
    commands = json.dumps([["echo", "first"], ["cat", str(gate)]])
    client = [str(NODE), str(ROOT / "examples" / "client.mjs"), str(supervised / "bus.sock"), commands]
    with subprocess.Popen(client, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        lines = [node.stdout.readline()]
        while "background_tasks_batch" not in lines[-1]:
            lines.append(node.stdout.readline())
            assert lines[-1], "it ended too early"
        flusher = holder(Home(supervised).lock("flusher"))
        assert flusher is not None
        os.kill(flusher, signal.SIGKILL)
        gate.write_text("done\n")
        lines += node.stdout.readlines()
        assert node.wait() == 0
    task = json.loads(backburner(supervised, "list", "--json", "--limit", "1").stdout)[0]
    parent = task["parentSessionId"]
    received = [int(line.split()[0]) for line in lines]
    assert received == [event["seq"] for event in events(supervised, parent, "--after", "0")]
    assert [event["count"] for event in events(supervised, parent, "--after", "0") if "count" in event] == [1, 1]
    assert events(supervised, parent) == [], "all of it was acknowledged"


def python_example(home: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run an example of the Python package in a project, then stop the supervisor that it started."""
    example = [sys.executable, str(ROOT / "examples" / name)]
    done = subprocess.run(example, cwd=home.parent, capture_output=True, text=True, timeout=50, check=False)
    assert backburner(home, "down").returncode == 0
    return done


def test_manager_example_prints_ends_and_results(home: Path, no_strays: None):
    done = python_example(home, "manager.py")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, *results = done.stdout.splitlines()
    assert (first, second) == ("ended: build completed", "ended: parse error")
    assert [line.partition(" -> ")[2].partition(":")[0] for line in results] == ["ok", "json.decoder.JSONDecodeError"]


def test_events_example_prints_the_events_of_its_task(home: Path, no_strays: None):
    done = python_example(home, "events.py")
    assert (done.returncode, done.stderr) == (0, "")
    types = [line.split()[0] for line in done.stdout.splitlines()]
    assert types == ["background_task_started", "background_task_completed", "background_tasks_batch"]


@checkout_only
def test_demonstration_succeeds():
    demo = [sys.executable, str(ROOT / "scripts" / "docs" / "demo.py")]
    done = subprocess.run(demo, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
