"""What is installed is what was meant to be, and nobody else's."""

from __future__ import annotations

import configparser
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.helpers.places import IN_CHECKOUT, IPC, ROOT, SUPERVISOR, backburner

#: What supervisord, which has our import name, calls its modules: pip would merge the two folders silently.
SUPERVISORD = frozenset(
    """childutils compat confecho datatypes dispatchers events http http_client loggers medusa options
    pidproxy poller process rpcinterface scripts skel socket_manager states supervisorctl supervisord
    templating tests ui web xmlrpc""".split()
)


@pytest.mark.parametrize("package", ["ipc", "supervisor"])
def test_the_package_is_ours_alone(package: str):
    assert set(packages_distributions()[package]) == {"backburner"}


@pytest.mark.parametrize("folder", [IPC, SUPERVISOR], ids=["ipc", "supervisor"])
def test_the_code_under_test_is_the_checkout_beside_it_or_else_the_installed_wheel(folder: Path):
    expected = ROOT if IN_CHECKOUT else Path(sysconfig.get_path("purelib"))
    assert folder.parent.resolve() == expected.resolve()


@pytest.mark.parametrize("folder", [IPC, SUPERVISOR], ids=["ipc", "supervisor"])
def test_the_package_says_that_it_is_typed(folder: Path):
    assert (folder / "py.typed").is_file()


def test_every_statement_that_is_named_is_installed_and_none_is_empty():
    statements = list((IPC / "sql").glob("*.sql"))
    assert statements
    assert [path.name for path in statements if not path.read_text().strip()] == []


def test_the_version_is_the_one_in_setup_cfg():
    meant = configparser.ConfigParser()
    meant.read(ROOT / "setup.cfg")
    assert backburner().version == meant["metadata"]["version"]


def test_the_command_is_backburner_and_nothing_else():
    commands = [entry for entry in backburner().entry_points if entry.group == "console_scripts"]
    assert [(entry.name, entry.value) for entry in commands] == [("backburner", "supervisor.cli:main")]


def test_no_module_is_named_as_one_of_supervisord():
    ours = {path.stem for path in SUPERVISOR.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert ours & SUPERVISORD == set()
