"""Kills workers while their process trees run, and measures how soon their slots are in use again."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.acceptance.conftest import BRISK
from tests.helpers.instance import Instance
from tests.helpers.rescue import rescue, summary

#: The bounds in seconds.
MEDIAN, WORST = 0.25, 1.0


def main() -> int:
    """Return 0 if every rescue was in order and in time."""
    parser = argparse.ArgumentParser(prog="rescue", description=__doc__)
    parser.add_argument("--trials", type=int, default=100, metavar="N", help="workers to kill (100)")
    trials = parser.parse_args().trials
    project = Path(tempfile.mkdtemp(prefix="bb-rescue-", dir="/tmp")).resolve()
    rescues = []
    with Instance(project / ".backburner") as instance:
        instance.up(**BRISK, default_concurrency=1)
        for number in range(trials):
            rescues.append(rescue(instance, project / str(number)))
            last = rescues[-1]
            print(f"{number + 1:4}  {last.seconds * 1000:6.0f} ms  {'' if last.is_in_order else last}")
        instance.down(now=True)
    shutil.rmtree(project)
    print(summary(rescues))
    times = [one.seconds for one in rescues]
    return 0 if all(one.is_in_order for one in rescues) and median(times) <= MEDIAN and max(times) <= WORST else 1


if __name__ == "__main__":
    sys.exit(main())
