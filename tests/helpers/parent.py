"""Claude Code as a parent: with our tools and our hooks, talking to a model on loopback, its user played by a test."""

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
from tests.helpers.stage import kill

KEY = "sk-ant-a-key-that-nobody-looks-at"
#: What a person would have to say once, on a terminal.
SETTLED = {"hasCompletedOnboarding": True, "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}}
ALLOWED = {"permissions": {"allow": ["mcp__backburner", "Bash"]}}


class Desk:
    """A user's folder in which Claude Code is set up by `install`, and a project."""

    def __init__(self, folder: Path, model: Model) -> None:
        """Set it up; `folder` is empty."""
        self.person, self.project = folder / "person", folder / "project"
        self.model = model
        for made in (self.project, self.person / ".claude"):
            made.mkdir(parents=True)
        (self.person / ".claude.json").write_text(json.dumps(SETTLED))
        (self.person / ".claude" / "settings.json").write_text(json.dumps(ALLOWED))
        self.environ = {
            **os.environ,
            "HOME": str(self.person),
            "PATH": path(),
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        os.environ["HOME"] = str(self.person)
        done = backburner(Path("unused"), "install", "claude", "--yes")
        assert done.returncode == 0, done.stderr

    @contextmanager
    def claude(self, *words: str) -> Iterator[Claude]:
        """A process of Claude Code that takes one message after the other."""
        how = "-p --verbose --input-format stream-json --output-format stream-json --permission-mode dontAsk".split()
        process = subprocess.Popen(
            ["claude", *how, *words],
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
    """One process, from its user's side."""

    def __init__(self, process: subprocess.Popen[str], model: Model) -> None:
        """Speak to it."""
        self.process, self._model = process, model
        self.lines: list[dict[str, Any]] = []

    @property
    def session(self) -> str:
        """The id that it goes by now."""
        return str([line["session_id"] for line in self.lines if line.get("session_id")][-1])

    def hear(self, text: str, *turns: Turn) -> Sequence[Request]:
        """Say something, have the model take these turns; what the model was asked until Claude was ready again."""
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
        """SIGKILL the server of our tools that it started."""
        (server,) = (
            child.pid
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if child.cmdline()[-1] == "mcp"
        )
        kill(server)
