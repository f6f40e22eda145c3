from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.ipc.machine.presence import Presence
from backburner.supervisor.services.managers import Launchd, Systemd
from backburner.supervisor.services.units import Supervised
from tests.helpers.commands import backburner_here
from tests.helpers.wait import eventually
from tests.supervisor.cli.conftest import Cli


def unit(text: str) -> ConfigParser:
    found = ConfigParser(interpolation=None, strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(text)
    return found


def test_unit_stops_only_the_supervisor_and_has_a_watchdog(cli: Cli, home: Path):
    service = unit(cli("service", "systemd").out)["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "process"
    assert service["Restart"] == "on-failure"
    assert int(service["WatchdogSec"]) > 0
    assert service["ExecStart"].startswith(f"{sys.executable} ")
    assert service["ExecStart"].endswith(f"--home {home} up")


def test_unit_allows_more_time_than_the_grace_period(cli: Cli, home: Path):
    (home / "config.toml").write_text("shutdown_grace_s = 500\n")
    assert int(unit(cli("service", "systemd").out)["Service"]["TimeoutStopSec"]) > 500


def verify(folder: Path, *names: str) -> str:
    """Return what systemd finds wrong in these units."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed here")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", *(str(folder / name) for name in names)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
    )
    assert "Failed to initialize manager" not in done.stderr, done.stderr
    return "".join(line for line in done.stderr.splitlines() if any(name in line for name in names))


@pytest.mark.parametrize("folder", ["plain", 'with "quotes", $HOME and 100%', "日本"])
def test_systemd_accepts_the_unit(cli: Cli, tmp_path: Path, folder: str):
    place = tmp_path / folder
    place.mkdir()
    text = cli("--home", str(place / ".backburner"), "service", "systemd").out
    name = text.partition(":")[0].removeprefix("# ")
    (tmp_path / name).write_text(text)
    assert verify(tmp_path, name) == ""


def test_property_list_starts_this_program(cli: Cli, home: Path):
    agent = plistlib.loads(cli("service", "launchd").out.encode())
    assert agent["ProgramArguments"][0] == sys.executable
    assert agent["ProgramArguments"][-3:] == ["--home", str(home), "up"]
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["AbandonProcessGroup"] is True


def test_printed_command_starts_this_program(cli: Cli):
    command = plistlib.loads(cli("service", "launchd").out.encode())["ProgramArguments"]
    done = subprocess.run(
        [*command[:-1], "--version"], capture_output=True, text=True, timeout=30, check=False, cwd="/"
    )
    assert done.stdout.startswith("backburner ")


# install, status, remove


@pytest.fixture
def units() -> Path:
    """The folder of the user's units."""
    return Path(os.environ["XDG_CONFIG_HOME"]) / "systemd" / "user"


@pytest.fixture
def no_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no service manager answer."""
    monkeypatch.setattr("backburner.supervisor.services.managers.run_tool", lambda _command: (1, "no bus"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that are given to a service manager, which does not exist."""
    found: list[str] = []

    def run(command: list[str]) -> tuple[int, str]:
        found.append(" ".join(command))
        return 0, "active"

    monkeypatch.setattr("backburner.supervisor.services.managers.run_tool", run)
    return found


def project(tmp_path: Path, name: str) -> str:
    """Create a project, and return its state directory."""
    home = tmp_path / name / ".backburner"
    home.mkdir(parents=True, mode=0o700)
    return str(home)


pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="systemd is not there on macOS")


def test_bare_service_shows_its_page(cli: Cli):
    done = cli("service")
    assert (done.code, done.err) == (0, "")
    assert "install" in done.out
    assert "timer" in done.out


def test_projects_with_the_same_name_have_different_units(cli: Cli, tmp_path: Path, units: Path, no_manager: None):
    homes = [project(tmp_path, name) for name in ("x/proj", "y/proj", "other")]
    paths = [cli("--home", home, "service", "install").out.strip() for home in homes]
    assert paths[0] == str(units / "backburner-proj.service")
    assert paths[2] == str(units / "backburner-other.service")
    assert len(set(paths)) == 3
    for home, path in zip(homes, paths, strict=True):
        assert f"--home {home} up" in Path(path).read_text()
        assert cli("--home", home, "service", "install").out.strip() == path


def test_service_is_started_at_login_where_no_manager_answers(cli: Cli, home: Path, units: Path, no_manager: None):
    done = cli("service", "install")
    path = Path(done.out.strip())
    assert (units / "default.target.wants" / path.name).resolve() == path
    assert "next login" in done.err
    assert "no bus" in done.err


def test_service_is_enabled_and_started_by_the_manager(cli: Cli, home: Path, calls: list[str]):
    name = Path(cli("service", "install").out.strip()).name
    assert "systemctl --user daemon-reload" in calls
    assert f"systemctl --user enable --now {name}" in calls
    assert cli("service", "status", "--json").json["service"]["state"] == "active"


def test_failure_of_the_manager_is_reported(cli: Cli, home: Path, monkeypatch):
    answers = {"show-environment": (0, ""), "daemon-reload": (1, "Access denied")}
    monkeypatch.setattr("backburner.supervisor.services.managers.run_tool", lambda command: answers[command[2]])
    done = cli("service", "install")
    assert done.code == 100
    assert "Access denied" in done.err


def test_removed_service_leaves_no_file(cli: Cli, home: Path, units: Path, no_manager: None):
    cli("service", "install")
    assert cli("service", "remove").code == 0
    assert [path for path in units.rglob("*") if not path.is_dir()] == []
    done = cli("service", "remove")
    assert done.code == 3
    assert "backburner service install" in done.err


def test_unit_of_an_earlier_release_is_updated_in_place(cli: Cli, home: Path, units: Path, no_manager: None):
    units.mkdir(parents=True)
    (units / "backburner.service").write_text(f"[Unit]\nDescription=backburner for {home}\n")
    assert cli("service", "install").out.strip() == str(units / "backburner.service")


def test_timer_launches_the_command(cli: Cli, home: Path, units: Path, no_manager: None, tmp_path: Path):
    words = ["sh", "-c", 'echo "$HOME" 100% ;', "", "a\nb"]
    done = cli("service", "timer", "nightly", "--on-calendar", "*-*-* 03:00", "-k", "a;b", "--", *words)
    path = Path(done.out.strip())
    timer, service = unit(path.read_text()), unit(path.with_suffix(".service").read_text())
    assert timer["Timer"]["OnCalendar"] == "*-*-* 03:00"
    assert service["Service"]["KillMode"] == "process"
    assert service["Service"]["WorkingDirectory"] == str(tmp_path)
    assert service["Service"]["ExecStart"].endswith(
        'launch --no-parent --unique timer-nightly --key "a;b" -- sh -c "echo \\"$$HOME\\" 100%% ;" "" "a\\x0ab"'
    )
    assert verify(units, path.name, path.with_suffix(".service").name) == ""
    assert list(cli("service", "status", "--json").json["timers"]) == ["nightly"]
    assert cli("service", "remove", "nightly").code == 0
    assert [path for path in units.rglob("*") if not path.is_dir()] == []


@pytest.mark.parametrize("words", [["../x", "--on-calendar", "daily"], ["x", "--on-calendar", "daily\nExecStart=x"]])
def test_timer_with_a_wrong_name_or_time_is_refused(cli: Cli, home: Path, units: Path, no_manager: None, words):
    assert cli("service", "timer", *words, "--", "true").code == 2
    assert not units.exists()


def test_installed_service_runs_under_a_real_manager(home: Path, no_strays: None):
    silence = Systemd().silence()
    if silence is not None:
        pytest.skip(f"no user manager answers: {silence}")
    assert backburner_here(home, "service", "install").returncode == 0
    try:
        eventually(lambda: Presence(Home(home)).is_held("supervisor"), 30)
    finally:
        assert backburner_here(home, "service", "remove").returncode == 0


def test_agents_of_projects_have_different_labels(cli: Cli, tmp_path: Path, monkeypatch, no_manager: None):
    monkeypatch.setenv("HOME", str(tmp_path))
    homes = [Home(Path(project(tmp_path, name))) for name in ("x/proj", "y/proj")]
    for home in homes:
        Launchd().install(Supervised(home, ["backburner", "--home", str(home.folder), "up"], 30), start=True)
    found = [Launchd().find(home) for home in homes]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].name == "backburner.proj"
    assert found[1].name.startswith("backburner.proj-")
    for one, home in zip(found, homes, strict=True):
        assert plistlib.loads(one.path.read_bytes())["ProgramArguments"][2] == str(home.folder)
        Launchd().remove(one)
    assert [Launchd().find(home) for home in homes] == [None, None]
