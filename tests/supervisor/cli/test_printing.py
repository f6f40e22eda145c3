from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from backburner.ipc.api.control import program as command_line
from tests.supervisor.cli.conftest import Tasks


def test_text_outside_the_encoding_of_stdout_is_escaped(home: Path, tasks: Tasks):
    tasks.pending(description="日本 ü")
    variables = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for words in (("list",), ("list", "--json")):
        done = subprocess.run(command_line(*words), env=variables, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["description"] == "日本 ü"
