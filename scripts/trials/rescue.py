"""Kills workers while their process trees run, and measures how soon their slots are in use again."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.acceptance.conftest import BRISK
from tests.helpers.rescue import rescue, summary
from tests.helpers.stage import Stage

#: The bounds in seconds.
MEDIAN, WORST = 0.25, 1.0


def main() -> int:
    """Return 0 if every rescue was in order and in time."""
    parser = argparse.ArgumentParser(prog="rescue", description=__doc__)
    parser.add_argument("--trials", type=int, default=100, metavar="N", help="workers to kill (100)")
    trials = parser.parse_args().trials
    project = Path(tempfile.mkdtemp(prefix="bb-rescue-", dir="/tmp")).resolve()
    rescues = []
    with Stage(project / ".backburner") as stage:
        stage.up(**BRISK, default_concurrency=1)
        for number in range(trials):
            rescues.append(rescue(stage, project / str(number)))
            print(f"{number + 1:4}  {rescues[-1].seconds * 1000:6.0f} ms  {'' if rescues[-1].well else rescues[-1]}")
        stage.down(now=True)
    shutil.rmtree(project)
    print(summary(rescues))
    times = [one.seconds for one in rescues]
    return 0 if all(one.well for one in rescues) and median(times) <= MEDIAN and max(times) <= WORST else 1


if __name__ == "__main__":
    sys.exit(main())
