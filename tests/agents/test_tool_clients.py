"""The command line of the MCP Inspector as a client of the tools."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.api.control import program
from tests.helpers import clis
from tests.helpers.clis import needs
from tests.helpers.instance import Instance
from tests.helpers.processes import kill_processes_of

pytestmark = [pytest.mark.timeout(600), needs("mcp-inspector")]


@pytest.fixture
def instance(home: Path):
    with Instance(home) as found:
        yield found.up(notification_batch_window_ms=10)
        found.down(now=True)
        kill_processes_of(home)


def inspect(instance: Instance, method: str, *words: str) -> Any:
    """Return the answer of our server as the Inspector's command line prints it."""
    assert clis.FOLDER is not None, "without it the test is skipped"
    command = [str(clis.FOLDER / "mcp-inspector"), "--cli", *_server_command(instance), "--method", method, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _server_command(instance: Instance) -> list[str]:
    """Write a script that starts our server without options, because the Inspector would take them for its own."""
    script = instance.folder.parent / "server"
    script.write_text(f"#!/bin/sh\nexec {shlex.join(program('--home', str(instance.folder), 'mcp'))}\n")
    script.chmod(0o755)
    return [str(script)]


def use(instance: Instance, name: str, **arguments: Any) -> Any:
    """Call a tool."""
    words = [
        word
        for key, value in arguments.items()
        for word in ("--tool-arg", f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    ]
    return inspect(instance, "tools/call", "--tool-name", name, *words)


def test_inspector_can_use_every_tool_and_receives_errors(instance: Instance):
    tools = inspect(instance, "tools/list")["tools"]
    assert sorted(tool["name"] for tool in tools) == ["cancel", "inbox", "launch", "list", "output", "wait"]
    launched = use(instance, "launch", command=["sleep", "600"], parentSessionId="ses-1")
    id = json.loads(launched["content"][0]["text"])["id"]
    assert json.loads(use(instance, "wait", timeoutMs=10, parentSessionId="ses-1")["content"][0]["text"])["timedOut"]
    cancelled = use(instance, "cancel", id=id, parentSessionId="ses-1")
    assert json.loads(cancelled["content"][0]["text"])["status"] == "cancelled"
    assert f"- {id}" in cancelled["content"][1]["text"]
    for name, arguments in {"list": {}, "inbox": {}, "output": {"id": id}}.items():
        assert not use(instance, name, parentSessionId="ses-1", **arguments).get("isError")
    assert use(instance, "output", id="bg-nothing")["isError"] is True
