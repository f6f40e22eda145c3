"""Rubbish, crowds and sluggards at the socket of a real flusher; what the well-behaved notice of it.

    scripts/fuzz-bus [--messages 1000000] [--seconds 600] [--seed S]      until either is reached
    scripts/fuzz-bus --short                                             twenty seconds of it

There are 2 000 connections: 100 subscribers to everything, of whom 90 never read; one reads a byte a second; some
have shut down
one half of their connection in the middle of a line; the rest do nothing. Others send messages that are almost right.
Fails (exit 1) if the flusher grows by more than 64 MiB or dies, if what is told does not reach the ten who read
within 100 ms (at the median; the 99th percentile is printed, and fails beyond 500 ms), if an answer is no answer, if
something
went wrong inside (−32603), or if another user is served.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.trials.fuzz.messages import message
from scripts.trials.outside import Place, Wire, nap, wait_for

CONNECTIONS, SUBSCRIBERS, READERS, HALF_OPEN, FUZZERS = 2000, 100, 10, 20, 4
MOST_GROWTH = 64 * 1024 * 1024
MEDIAN_MS, WORST_MS = 100.0, 500.0

#: How much longer it may take in the short form, which runs beside others, before that fails.
ROOM = 20

#: Answers that a client may get: JSON-RPC's own codes but "internal error", and ours.
CODES = {-32700, -32600, -32601, -32602, -32001, -32002, -32003, -32004}

SETTINGS = """
durability = "normal"
notification_batch_window_ms = 200
default_concurrency = 0
"""


def connect(home: Path) -> socket.socket:
    """A connection that nobody waits on."""
    found = socket.socket(socket.AF_UNIX)
    found.connect(str(home / "bus.sock"))
    found.setblocking(False)
    return found


def ask(method: str, **params: Any) -> bytes:
    """A request in one line."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"


#: Another user's: asks, and prints what it is answered.
STRANGER = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.settimeout(5)
try:
    s.sendall(sys.argv[2].encode() + b"\\n")
    print(s.recv(1000))
except OSError as error:
    print(repr(error))
"""

#: How it looks to be hung up on.
REFUSALS = ("b''", "ConnectionResetError(104, 'Connection reset by peer')", "BrokenPipeError(32, 'Broken pipe')")


class Fuzzer:
    """One process that sends, on one connection, as fast as it is answered. Counts, and says so at its end."""

    def __init__(self, home: Path, seed: str) -> None:
        """Connect."""
        self._home = home
        self._chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._open()

    def _open(self) -> None:
        self._unread = b""
        self._socket = connect(self._home)
        self.counts["connections"] += 1

    def run(self, messages: int, seconds: float) -> None:
        """Send so many, or for so long."""
        until = time.monotonic() + seconds
        while self.counts["sent"] < messages and time.monotonic() < until:
            data = b"".join(message(self._chance, self.counts["sent"] + place) for place in range(40))
            self.counts["sent"] += 40
            try:
                self._exchange(data)
            except OSError:
                self._socket.close()
                self._open()

    def _exchange(self, data: bytes) -> None:
        """Send, reading whatever comes meanwhile. Raises OSError where the other end hangs up."""
        waiting = memoryview(data + ask("ping"))
        quiet = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while len(waiting) or quiet < 2:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if len(waiting) else 0)
                selector.modify(self._socket, events)
                ready = selector.select(0.002)
                quiet = 0 if ready else quiet + 1
                for _, mask in ready:
                    if mask & selectors.EVENT_READ:
                        self._read()
                    if mask & selectors.EVENT_WRITE and len(waiting):
                        waiting = waiting[self._socket.send(waiting) :]

    def _read(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._judge(json.loads(line))

    def _judge(self, answer: dict[str, Any]) -> None:
        if "method" in answer:
            self.counts["events"] += 1
        elif "result" in answer:
            self.counts["results"] += 1
        else:
            code = answer["error"]["code"]
            self.counts[f"error {code}"] += 1
            if code not in CODES:
                self.wrong.append(json.dumps(answer)[:300])


class Readers(threading.Thread):
    """The ten who read: when did each hear of each end."""

    def __init__(self, home: Path) -> None:
        """Subscribe."""
        super().__init__(daemon=True)
        self.heard: dict[str, list[float]] = {}
        self._selector = selectors.DefaultSelector()
        for _ in range(READERS):
            wire = Wire(home)
            wire.socket.sendall(ask("subscribe", parentSessionId="*"))
            wire.socket.setblocking(False)
            self._selector.register(wire.socket, selectors.EVENT_READ, bytearray())

    def run(self) -> None:
        """Read for ever."""
        while True:
            for key, _ in self._selector.select():
                self._read(key)

    def _read(self, key: selectors.SelectorKey) -> None:
        data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]  # it is a socket
        now = time.monotonic()
        if not data:
            self._selector.unregister(key.fileobj)
            return
        buffer: bytearray = key.data
        buffer += data
        end = buffer.rfind(b"\n") + 1
        for line in bytes(buffer[:end]).splitlines():
            if b'"background_task_completed"' in line[:80]:
                self.heard.setdefault(json.loads(line)["params"]["taskId"], []).append(now)
        del buffer[:end]


class Crowd:
    """All those who hold a connection and are no good."""

    def __init__(self, home: Path) -> None:
        """Connect all of them."""
        self._all = [connect(home) for _ in range(CONNECTIONS - READERS - FUZZERS)]
        for deaf in self._all[: SUBSCRIBERS - READERS]:
            deaf.send(ask("subscribe", parentSessionId="*", after=0))
        self._slow = self._all[SUBSCRIBERS]
        self._slow.send(ask("subscribe", parentSessionId="*", after=0))
        for half in self._all[SUBSCRIBERS + 1 : SUBSCRIBERS + 1 + HALF_OPEN]:
            half.send(b'{"jsonrpc": "2.0", "id": 1, "meth')
            half.shutdown(socket.SHUT_WR if half.fileno() % 2 else socket.SHUT_RD)
        self._next = 0.0

    def sip(self) -> None:
        """The slow one reads a byte a second."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1
            try:
                self._slow.recv(1)
            except BlockingIOError:
                return


class Siege:
    """The whole of it, against one flusher."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Start a supervisor of our own."""
        self.options = options
        self.place = Place("fuzz")
        self.place.snapshot()
        self.place.configure(SETTINGS)
        self.problems: list[str] = []
        self.asked: dict[str, float] = {}
        self.most = 0

    def go(self) -> None:
        """Start, besiege, look."""
        up = self.place.run("up", "--detach")
        if up.returncode:
            raise SystemExit(up.stderr)
        self.place.run("pause", "fuzz")
        self._history()
        self.flusher = self.place.role("flusher")[0].pid
        self.first = memory(self.flusher)
        self._strangers()
        crowd, self.readers = Crowd(self.place.home), Readers(self.place.home)
        self.readers.start()
        fuzzers = [self._fuzzer(number) for number in range(FUZZERS)]
        self._probe(crowd, fuzzers)
        self.counts = self._sum(fuzzers)
        self._look()

    def _history(self) -> None:
        """Something for those who subscribe from the beginning: a log of some megabytes."""
        wire = Wire(self.place.home)
        for _ in range(20):
            ids = wire.call(
                "launchMany",
                tasks=[{"agent": "external", "prompt": "x", "concurrencyKey": "fuzz", "description": "d" * 2000}] * 50,
            )
            for id in ids["result"]["ids"]:
                wire.call("cancel", id=id)
        wire.close()

    def _strangers(self) -> None:
        """Another user's connection is hung up on; the owner's is served before and after."""
        if os.geteuid() != 0:
            print("another user: not tried, that takes root")
            return
        before, said = Wire(self.place.home).call("ping"), self._said_to_another()
        answer = said.stdout.strip()
        refused = answer in REFUSALS
        print(f"another user: {'refused' if refused else 'NOT REFUSED'}", answer or said.stderr.strip()[-200:])
        if not refused or "result" not in before or "result" not in Wire(self.place.home).call("ping"):
            self.problems.append("another user was served, or the owner was not")

    def _said_to_another(self) -> subprocess.CompletedProcess[str]:
        """What the bus says to another user, to whom all doors on the way to it are opened."""
        bus = self.place.home / "bus.sock"
        for path, mode in ((self.place.project, 0o711), (self.place.home, 0o711), (bus, 0o777)):
            path.chmod(mode)
        words = ["/usr/bin/env", "python3", "-I", "-c", STRANGER, str(bus), ask("ping").decode().strip()]
        try:
            return subprocess.run(
                words, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, cwd="/", check=False
            )
        finally:
            for path in (self.place.project, self.place.home):
                path.chmod(0o700)

    def _fuzzer(self, number: int) -> subprocess.Popen[str]:
        words = [
            str(self.place.home),
            str(self.options.messages // FUZZERS),
            str(self.options.seconds),
            f"{self.options.seed} {number}",
        ]
        return subprocess.Popen(
            self.place.module("fuzz.trial", "--fuzzer", *words),
            env=self.place.module_environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _probe(self, crowd: Crowd, fuzzers: list[subprocess.Popen[str]]) -> None:
        """End a task now and then, and note when it was asked for; look at the flusher's memory."""
        wire = Wire(self.place.home)
        while any(fuzzer.poll() is None for fuzzer in fuzzers):
            task = wire.call("launch", agent="external", prompt="x", concurrencyKey="fuzz", parentSessionId="ses-p")[
                "result"
            ]
            self.asked[task["id"]] = time.monotonic()
            wire.call("cancel", id=task["id"])
            crowd.sip()
            self.most = max(self.most, memory(self.flusher))
            nap(0.2)

    def _sum(self, fuzzers: list[subprocess.Popen[str]]) -> Counter[str]:
        found: Counter[str] = Counter()
        for fuzzer in fuzzers:
            said = fuzzer.communicate()[0]
            if fuzzer.returncode:
                self.problems.append(f"a fuzzer failed: {said}")
                continue
            counts, wrong = json.loads(said)
            found.update(counts)
            self.problems += [f"wrong answer: {one}" for one in wrong[:5]]
        return found

    def _look(self) -> None:
        wait_for("the readers", 60, lambda: len(self.readers.heard.get(list(self.asked)[-1], [])) == READERS)
        delays = sorted(
            1000 * (at - self.asked[id]) for id, ats in self.readers.heard.items() if id in self.asked for at in ats
        )
        self.delays = (statistics.median(delays), delays[int(len(delays) * 0.99)], delays[-1])
        if len(delays) != READERS * len(self.asked):
            self.problems.append(f"{READERS * len(self.asked)} ends were to be heard, {len(delays)} were")
        room = ROOM if self.options.short else 1
        if self.delays[0] > MEDIAN_MS * room or self.delays[1] > WORST_MS * room:
            self.problems.append(
                f"delivery took {self.delays[0]:.0f} ms at the median, {self.delays[1]:.0f} ms at the 99th percentile"
            )
        if self.most - self.first > MOST_GROWTH:
            self.problems.append(f"the flusher grew by {(self.most - self.first) >> 20} MiB")
        if [one.pid for one in self.place.role("flusher")] != [self.flusher]:
            self.problems.append("the flusher died")
        failures = (self.place.home / "supervisor.log").read_text(errors="replace").count("Traceback")
        if failures:
            self.problems.append(f"{failures} tracebacks in the log")

    def report(self, seconds: float) -> None:
        """Print what happened."""
        print(
            f"seed {self.options.seed}, {seconds:.0f} s, {CONNECTIONS} connections,",
            f"{SUBSCRIBERS} subscribers, {READERS} of them read",
        )
        print(
            f"messages {self.counts['sent']}:",
            ", ".join(f"{name} {count}" for name, count in self.counts.most_common()),
        )
        print(f"flusher: {self.first / 2**20:.1f} MiB at first, {self.most / 2**20:.1f} MiB at most")
        print(
            "delivery to those who read: median {:.1f} ms, 99th percentile {:.1f} ms, worst {:.1f} ms".format(
                *self.delays
            )
        )
        for problem in self.problems:
            print(f"  {problem}")


def memory(pid: int) -> int:
    """Resident bytes, shared ones included."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS"))


def fuzz(home: str, messages: str, seconds: str, seed: str) -> int:
    """Be one fuzzer; its books on stdout."""
    fuzzer = Fuzzer(Path(home), seed)
    fuzzer.run(int(messages), float(seconds))
    print(json.dumps([fuzzer.counts, fuzzer.wrong]))
    return 0


def main() -> int:
    """Besiege, report."""
    parser = argparse.ArgumentParser(description="Rubbish, crowds and sluggards at the socket of a real flusher.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--short", action="store_true", help="twenty seconds")
    parser.add_argument("--fuzzer", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fuzzer:
        return fuzz(*options.fuzzer)
    options.seconds = 20 if options.short else options.seconds
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    siege, begun = Siege(options), time.monotonic()
    try:
        siege.go()
        siege.report(time.monotonic() - begun)
    finally:
        siege.place.remove()
    return 1 if siege.problems else 0


if __name__ == "__main__":
    sys.exit(main())
