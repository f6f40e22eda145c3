from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.wait import eventually
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, stdout_of

LINE = "trap 'echo got; exit 0' USR1; echo ready; while :; do sleep 0.05; done"


def test_signal_reaches_the_group_of_the_first_process(supervised: Path):
    id = launch(supervised, "--", "sh", "-c", LINE)
    eventually(lambda: "ready" in stdout_of(supervised, "output", id), 20, "the trap of the task")
    assert stdout_of(supervised, "signal", id, "-usr1").startswith(id[3:11])
    assert "1 background task completed" in stdout_of(supervised, "wait", id)
    assert stdout_of(supervised, "output", id) == "ready\ngot\n"


def test_signal_is_refused_for_a_task_without_a_process(cli: Cli, tasks: Tasks):
    for id, why in ((tasks.pending(), "is not running (pending)"), (tasks.running(), "has no process")):
        result = cli("signal", id, "-15")
        assert result.code == 5
        assert why in result.err


@pytest.mark.parametrize("name", ["NOPE", "0", "999", "", "-NOPE"])
def test_unknown_signal_is_refused(cli: Cli, tasks: Tasks, name: str):
    assert cli("signal", tasks.pending(), name).code == 2
