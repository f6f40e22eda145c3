from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from backburner.supervisor.system.title import show_title
show_title(sys.argv[1])
print(open("/proc/self/cmdline").read().rstrip("\\0"), sys.argv[1][:9], sep="|")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows a title")
@pytest.mark.parametrize("title", ["bb-worker /home/x/.backburner", "bb-worker " + "x" * 10_000])
def test_title_replaces_the_arguments_as_far_as_there_is_room(title: str):
    command = [sys.executable, "-c", PROGRAM, title]
    shown, _, argument = subprocess.check_output(command, text=True).strip().partition("|")
    assert shown == title[: len("\0".join(command))]
    assert argument == "bb-worker"
