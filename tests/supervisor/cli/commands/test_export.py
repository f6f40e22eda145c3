from __future__ import annotations

import json
from pathlib import Path

from tests.supervisor.cli.conftest import Cli, Tasks


def test_seed_format_is_exported_and_imported(cli: Cli, tasks: Tasks, tmp_path: Path):
    id = tasks.ended()
    seed = cli("export", "--seed").out
    json.loads(seed)
    result = cli("--home", str(tmp_path / "other"), "import", "-", stdin=seed.encode())
    assert result.code == 0, result.err
    assert cli("--home", str(tmp_path / "other"), "show", "--json", id).json["status"] == "completed"
