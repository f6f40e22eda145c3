"""Several projects of one user, and services that start their supervisors."""

from __future__ import annotations

import json
import plistlib
import sys
from pathlib import Path

from scripts.trials.report_rows import Sandbox, row
from tests.helpers.wait import eventually


def units(sandbox: Sandbox) -> Path:
    """Return the folder of the user's units."""
    return Path(sandbox.environment["XDG_CONFIG_HOME"]) / "systemd" / "user"


def second_project(sandbox: Sandbox) -> str:
    """Create another project of the same user, whose folder has the same name, and return its state directory."""
    home = sandbox.project / "elsewhere" / sandbox.project.name / ".backburner"
    home.mkdir(parents=True, mode=0o700)
    return str(home)


@row("service systemd in two projects with one name", "names two files", own=True)
def _(sandbox: Sandbox) -> None:
    other = second_project(sandbox)
    if sys.platform == "darwin":
        return
    first = sandbox.check("service", "install").strip()
    second = sandbox.check("--home", other, "service", "install").strip()
    assert first != second, first
    assert sandbox.project.name in Path(first).name, first
    assert f"--home {other} up" in Path(second).read_text()
    printed = sandbox.check("--home", other, "service", "systemd")
    assert printed == Path(second).read_text()
    for home in (str(sandbox.home), other):
        sandbox.check("--home", home, "service", "remove")
    assert not [path for path in units(sandbox).rglob("*") if path.is_file()]


@row("service install where the folder of units does not exist", "creates it, and starts at the next login", own=True)
def _(sandbox: Sandbox) -> None:
    assert not units(sandbox).exists()
    done = sandbox.run("service", "install")
    assert done.returncode == 0, done
    assert Path(done.stdout.strip()).exists()
    sandbox.check("service", "remove")


@row("service launchd", "prints an agent with the project's name")
def _(sandbox: Sandbox) -> None:
    agent = plistlib.loads(sandbox.check("service", "launchd").encode())
    assert sandbox.project.name in agent["Label"], agent


@row("service without a subcommand", "shows its page, and is no error")
def _(sandbox: Sandbox) -> None:
    done = sandbox.run("service")
    assert done.returncode == 0, done
    assert not done.stderr, done.stderr
    assert "install" in done.stdout, done.stdout


@row("list -A and status -A", "show the tasks of all projects, also if one is broken")
def _(sandbox: Sandbox) -> None:
    other = second_project(sandbox)
    sandbox.check("--home", other, "launch", "--no-up", "--", "true")
    sandbox.check("--home", other, "up", "--detach")
    id = sandbox.launch("--key", "projects", "--delay", "1h", "--", "true")
    homes = {task["home"] for task in json.loads(sandbox.check("list", "-A", "--json"))}
    assert {str(sandbox.home), other} <= homes, homes
    sandbox.check("--home", other, "down", "--now")
    (Path(other) / "backburner.db").write_text("this is not a database")
    done = sandbox.run("list", "-A")
    assert done.returncode == 0, done
    assert id[3:11] in done.stdout, done.stdout
    assert f"{other} was skipped" in done.stderr, done.stderr
    assert len(json.loads(sandbox.check("status", "-A", "--json"))) >= 2
    sandbox.check("cancel", id)


@row("a shared limit of 1 and two projects", "lets one task run, and the other wait for a slot", own=True)
def _(sandbox: Sandbox) -> None:
    other = second_project(sandbox)
    sandbox.user_settings.parent.mkdir(parents=True, exist_ok=True)
    sandbox.user_settings.write_text("[shared_limits]\ngpu = 1\n")
    sandbox.check("launch", "--key", "gpu", "--", "sleep", "1000")
    eventually(lambda: json.loads(sandbox.check("list", "--json", "--status", "running")), 20, "the first task")
    waiting = sandbox.check("--home", other, "launch", "--key", "gpu", "--", "true").strip()
    task = json.loads(sandbox.check("--home", other, "show", "--json", waiting))
    assert (task["status"], task["waitingFor"]) == ("pending", "slot"), task
    sandbox.check("cancel", "-")
    sandbox.check("--home", other, "wait", waiting, timeout=30)
    sandbox.check("--home", other, "down", "--now")


@row("[shared_limits] in the file of a project", "is a mistake that config check names")
def _(sandbox: Sandbox) -> None:
    file = sandbox.project / "backburner.toml"
    file.write_text("[shared_limits]\ngpu = 1\n")
    done = sandbox.run("config", "check")
    file.unlink()
    assert done.returncode == 100, done
    assert "shared_limits: expected to be set only in the user's own file" in done.stdout, done.stdout
