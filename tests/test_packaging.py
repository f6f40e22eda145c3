"""The wheel installs the package and its data, and nothing else."""

from __future__ import annotations

import configparser
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from backburner.ipc.machine.distribution import DISTRIBUTION
from tests.helpers.places import IMPORT_ROOT, IN_CHECKOUT, IPC, ROOT, backburner


def test_distribution_installs_one_import_package():
    installed = {name for name, owners in packages_distributions().items() if DISTRIBUTION in owners}
    assert installed == {"backburner"}


def test_code_under_test_is_the_checkout_or_the_installed_wheel():
    expected = ROOT if IN_CHECKOUT else Path(sysconfig.get_path("purelib"))
    assert expected.resolve() == IMPORT_ROOT.resolve()


def test_package_is_marked_as_typed():
    assert (IPC.parent / "py.typed").is_file()


def test_every_statement_that_is_named_is_installed_and_none_is_empty():
    statements = list((IPC / "store" / "sqlite" / "sql").glob("*.sql"))
    assert statements
    assert [path.name for path in statements if not path.read_text().strip()] == []


def test_the_version_is_the_one_in_setup_cfg():
    meant = configparser.ConfigParser()
    meant.read(ROOT / "setup.cfg")
    assert backburner().version == meant["metadata"]["version"]


def test_distribution_installs_only_the_command_backburner():
    commands = [entry for entry in backburner().entry_points if entry.group == "console_scripts"]
    assert [(entry.name, entry.value) for entry in commands] == [("backburner", "backburner.supervisor.cli:main")]


@pytest.mark.skipif(IN_CHECKOUT, reason="an editable installation has no data files")
def test_manual_page_is_installed():
    assert (Path(sysconfig.get_path("data")) / "share" / "man" / "man1" / "backburner.1").is_file()
