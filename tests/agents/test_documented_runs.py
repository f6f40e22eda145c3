"""The runs that the documents show print the same again with the real agents, apart from ids."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clis import needs, write_settings
from tests.helpers.instance import Instance
from tests.helpers.model import Model, Say
from tests.helpers.places import ROOT

#: Seconds. Agents on Node.js take half a minute to start on a busy machine.
TIMEOUT = 240.0
pytestmark = pytest.mark.timeout(600)

DOCUMENTS = ("docs/reference/agents.md",)
SHOWN = re.compile(r"```console\n(\$ backburner launch --agent (\S+) .*?)```", re.DOTALL)
#: Ids of tasks and of agents' sessions, which differ in each run.
IDS = re.compile(r"(bg-)?\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\bses_\w+|\b01[0-9a-z]{24}\b")


def runs() -> dict[str, list[str]]:
    """Return the runs of each agent that the documents show."""
    found: dict[str, list[str]] = {}
    for document in DOCUMENTS:
        for run, name in SHOWN.findall((ROOT / document).read_text()):
            found.setdefault(name, []).append(run)
    return found


RUNS = runs()
AGENTS = [pytest.param(name, marks=[needs(name), pytest.mark.xdist_group(name)], id=name) for name in RUNS]


@pytest.fixture
def project(users_instance: Instance) -> Path:
    """Return the folder in which the user types the commands."""
    return users_instance.folder.parent


@pytest.fixture
def users_instance(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Start a supervisor in the environment of a user. The agents there use a model that answers pong."""
    with Model(Say("pong")) as model, Instance(home) as instance:
        environment = write_settings(tmp_path / "person", model.url)
        ours = str(Path(sys.executable).parent)
        for name, value in (environment | {"PATH": f"{ours}{os.pathsep}{environment['PATH']}"}).items():
            monkeypatch.setenv(name, value)
        yield instance.up()
        instance.down(now=True)


def typed(run: str, project: Path) -> str:
    """Return what a terminal shows when the commands of a run are typed."""
    commands = re.findall(r"^\$ (.*)", run, re.MULTILINE)
    return "".join(f"$ {command}\n{printed(command, project)}" for command in commands)


def printed(command: str, project: Path) -> str:
    """Return the output of a command, on either stream."""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return str(subprocess.run(["bash", "-c", command], cwd=project, timeout=TIMEOUT, check=True, **both).stdout)


@pytest.mark.parametrize("name", AGENTS)
def test_documented_runs_of_an_agent_print_what_is_shown(name: str, project: Path):
    for run in RUNS[name]:
        assert IDS.sub("ID", typed(run, project)) == IDS.sub("ID", run)
