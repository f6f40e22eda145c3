"""Run Claude Code as a parent session, with backburner's tools and hooks, a scripted model, and a test as its user."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.helpers.clis import path
from tests.helpers.commands import backburner
from tests.helpers.model import Model, Turn
from tests.helpers.model.turns import Request
from tests.helpers.processes import kill

KEY = "sk-ant-a-key-that-is-never-checked"
#: The answers to the questions that Claude Code asks when it is first started.
ONBOARDED = {"hasCompletedOnboarding": True, "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}}
ALLOWED = {"permissions": {"allow": ["mcp__backburner", "Bash"]}}


def set_up_claude(home: Path, url: str) -> dict[str, str]:
    """Write Claude Code's settings to a user's home folder; return the environment variables for a model at `url`."""
    (home / ".claude").mkdir(parents=True)
    (home / ".claude.json").write_text(json.dumps(ONBOARDED, indent=2))
    (home / ".claude" / "settings.json").write_text(json.dumps(ALLOWED, indent=2))
    return {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


class ClaudeProject:
    """A project and a user's home folder in which `install` has set up Claude Code."""

    def __init__(self, folder: Path, model: Model) -> None:
        """Create both in an empty folder."""
        self.user_home, self.project = folder / "person", folder / "project"
        self.model = model
        self.project.mkdir(parents=True)
        self.environ = {**os.environ, "PATH": path(), **set_up_claude(self.user_home, model.url)}
        os.environ["HOME"] = str(self.user_home)
        done = backburner(Path("unused"), "install", "claude", "--yes")
        assert done.returncode == 0, done.stderr

    @contextmanager
    def claude(self, *arguments: str) -> Iterator[Claude]:
        """Start a process of Claude Code that takes one message after another."""
        flags = "-p --verbose --input-format stream-json --output-format stream-json --permission-mode dontAsk".split()
        process = subprocess.Popen(
            ["claude", *flags, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.project,
            env=self.environ,
        )
        assert process.stdin is not None and process.stdout is not None, "they are pipes"
        try:
            yield Claude(process, self.model)
            process.stdin.close()
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class Claude:
    """A process of Claude Code, as its user sees it."""

    def __init__(self, process: subprocess.Popen[str], model: Model) -> None:
        self.process, self._model = process, model
        self.lines: list[dict[str, Any]] = []

    @property
    def session(self) -> str:
        """Return the ID of the current session."""
        return str([line["session_id"] for line in self.lines if line.get("session_id")][-1])

    def send(self, text: str, *turns: Turn) -> Sequence[Request]:
        """Send a message, let the model take these turns, and return the requests that it received."""
        if turns:
            self._model.now(*turns)
        before = len(self._model.requests)
        assert self.process.stdin is not None and self.process.stdout is not None, "they are pipes"
        message = {"type": "user", "message": {"role": "user", "content": text}}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["type"] == "result":
                return [request for request in self._model.requests[before:] if request.tools]
        raise AssertionError(f"claude ended: {self.lines[-3:]}")

    def kill_server(self) -> None:
        """Kill the MCP server that this process started."""
        (server,) = (
            child.pid
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if child.cmdline()[-1] == "mcp"
        )
        kill(server)
