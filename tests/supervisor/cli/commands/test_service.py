from __future__ import annotations

import plistlib
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("folder", ["plain", 'with "quotes", $HOME and 100%', "日本"])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_accepts_the_unit(cli: Cli, tmp_path: Path, folder: str):
    place = tmp_path / folder
    place.mkdir()
    file = tmp_path / "backburner.service"
    file.write_text(cli("--home", str(place / ".backburner"), "service", "systemd").out)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert "backburner.service" not in done.stderr, done.stderr


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
