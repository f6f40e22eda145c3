"""The one import name: a project's own `ipc` and `supervisor` packages, and supervisord, work beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.tools import client

JOBS = """
import ipc, supervisor
from supervisor import owner

def f(number):
    return [number, owner.NAME, ipc.__file__, supervisor.__file__]
"""


@pytest.fixture
def project(instance: Instance) -> Path:
    """Return the folder of a project that has packages called `ipc` and `supervisor`."""
    folder = instance.folder.parent
    for package in ("ipc", "supervisor"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    (folder / "ipc" / "jobs.py").write_text(JOBS)
    (folder / "supervisor" / "owner.py").write_text("NAME = 'project'\n")
    return folder


def run(folder: Path, *words: str) -> str:
    """Run Python in a folder and return what it prints. The folder comes first on the path, as for any script."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_call_of_project_with_packages_of_our_names_runs(instance: Instance, project: Path):
    instance.up(**BRISK)
    task = instance.result(call="ipc.jobs:f", args=[7], cwd=str(project))
    assert task.status == "completed", task.error
    files = [str(project / package / "__init__.py") for package in ("ipc", "supervisor")]
    assert json.loads(task.result or "") == [7, "project", *files]


def test_library_and_commands_work_in_a_project_with_packages_of_our_names(instance: Instance, project: Path):
    instance.up(**BRISK)
    home = ["-m", "backburner", "--home", str(instance.folder)]
    assert run(project, *home, "run", "--", "echo", "hello") == "hello\n"
    assert run(project, *home, "launch", "--", "true").startswith("bg-")
    code = "import backburner, ipc, sys; print(backburner.BackgroundManager.__name__, ipc.__file__)"
    assert run(project, "-c", code).split() == ["BackgroundManager", str(project / "ipc" / "__init__.py")]


def test_mcp_server_works_in_a_project_with_packages_of_our_names(instance: Instance, project: Path):
    instance.up(**BRISK)
    with client(str(instance.folder), str(project)) as tools:
        tools.initialize()
        found = tools.call("launch", call="ipc.jobs:f", args=[8], cwd=str(project), parentSessionId="one")
        assert json.loads(instance.until(found.answer["id"]).result or "")[:2] == [8, "project"]


def test_supervisord_in_the_same_environment_is_left_alone(tmp_path: Path):
    code = "from supervisor import options; print(options.VERSION)"
    assert run(tmp_path, "-W", "ignore", "-P", "-c", code).strip() == version("supervisor")
