from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from backburner.ipc.api.control import program as command_line
from tests.supervisor.cli.conftest import Cli, Tasks


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed_for_each_shell(cli: Cli, shell: str):
    assert "_BACKBURNER_COMPLETE" in cli("completion", shell).out


def test_commands_options_and_ids_are_completed(home: Path, tasks: Tasks):
    id = tasks.pending()

    def complete(*words: str) -> list[str]:
        asked = {"COMP_WORDS": " ".join(["backburner", *words]), "COMP_CWORD": str(len(words))}
        variables = os.environ | asked | {"_BACKBURNER_COMPLETE": "bash_complete"}
        done = subprocess.run(command_line(), env=variables, capture_output=True, text=True, check=False)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("la") == ["launch"]
    assert "--priority" in complete("launch", "--pri")
    assert complete("show", id[3:6]) == [id[3:11]]
