"""`python -m tests.helpers.model [--log FILE] [--port N] [TURN…]`: the model as a program.

A turn is JSON: `{"kind": "say", "text": "pong"}`; the address is printed. Ends when its stdin does, or on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path

from tests.helpers.model.server import Model
from tests.helpers.model.turns import turn_of

reader = argparse.ArgumentParser(prog="python -m tests.helpers.model", description=__doc__)
reader.add_argument("--log", type=Path)
reader.add_argument("--port", type=int, default=0)
reader.add_argument("turns", nargs="*", type=json.loads, metavar="TURN")
given = reader.parse_args()
with Model(*map(turn_of, given.turns), log=given.log, port=given.port) as model, suppress(KeyboardInterrupt):
    print(model.url, flush=True)
    sys.stdin.read()
