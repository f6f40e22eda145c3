"""Sends malformed messages to a flusher with many clients, and checks what well-behaved clients notice of it.

    scripts/fuzz-bus [--messages 1000000] [--seconds 600] [--seed S]      until either is reached
    scripts/fuzz-bus --short                                             twenty seconds

There are 2 000 connections: 100 subscribers to everything, of which 90 never read and one reads a byte per second; some
connections of which one half was shut down in the middle of a line; the others do nothing. Fuzzers send messages that
are almost valid. The exit code is 1 if

- the flusher dies, or grows by more than 64 MiB;
- events do not reach the ten subscribers that read within 100 ms (median) and 500 ms (99th percentile);
- a response has an unknown error code, or the code of an internal error (−32603);
- another user is served.
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
from tests.helpers.blackbox import Place
from tests.helpers.invariants import ENDED
from tests.helpers.processes import memory
from tests.helpers.rpc import encode_request
from tests.helpers.wait import eventually

CONNECTIONS, SUBSCRIBERS, READERS, HALF_OPEN, FUZZERS = 2000, 100, 10, 20, 4
MAX_GROWTH = 64 * 1024 * 1024
MEDIAN_MS, WORST_MS = 100.0, 500.0

#: How many times longer a delivery may take in the short form, which runs beside other work.
SHORT_FACTOR = 20

#: The codes of errors that a client may receive: JSON-RPC's own without "internal error", and ours.
CODES = {-32700, -32600, -32601, -32602, -32001, -32002, -32003, -32004}

SETTINGS = """
durability = "normal"
notification_batch_window_ms = 200
default_concurrency = 0
"""

TASK = {"agent": "external", "prompt": "x", "concurrencyKey": "fuzz"}

#: A program of another user: sends a request, and prints the response.
OTHER_USER = """
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

#: What it prints if the server closes the connection.
CLOSED = ("b''", "ConnectionResetError(104, 'Connection reset by peer')", "BrokenPipeError(32, 'Broken pipe')")


def connect(path: Path) -> socket.socket:
    """Return a connection that never blocks."""
    found = socket.socket(socket.AF_UNIX)
    found.connect(str(path))
    found.setblocking(False)
    return found


class Fuzzer:
    """A process that sends on one connection as fast as responses come, and counts them."""

    def __init__(self, path: Path, seed: str) -> None:
        self._path = path
        self._chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._open()

    def _open(self) -> None:
        self._unread = b""
        self._socket = connect(self._path)
        self.counts["connections"] += 1

    def run(self, messages: int, seconds: float) -> None:
        """Send messages until their number or the time is reached."""
        deadline = time.monotonic() + seconds
        while self.counts["sent"] < messages and time.monotonic() < deadline:
            data = b"".join(message(self._chance, self.counts["sent"] + place) for place in range(40))
            self.counts["sent"] += 40
            try:
                self._exchange(data)
            except OSError:
                self._socket.close()
                self._open()

    def _exchange(self, data: bytes) -> None:
        """Send, and read meanwhile. Raises OSError if the server closes the connection."""
        waiting = memoryview(data + encode_request("ping"))
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
            self._count(json.loads(line))

    def _count(self, answer: dict[str, Any]) -> None:
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
    """The subscribers that read, and the times at which each received each end."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True)
        self.received: dict[str, list[float]] = {}
        self._selector = selectors.DefaultSelector()
        for _ in range(READERS):
            client = place.connect()
            client.send("subscribe", parentSessionId="*")
            self._selector.register(client, selectors.EVENT_READ, client)

    def run(self) -> None:
        """Read until the process ends."""
        while True:
            for key, _ in self._selector.select():
                self._read(key)

    def _read(self, key: selectors.SelectorKey) -> None:
        try:
            lines = key.data.receive_lines(1)
        except ConnectionError:
            self._selector.unregister(key.fileobj)
            return
        now = time.monotonic()
        for line in lines:
            if ENDED.encode() in line[:80]:
                self.received.setdefault(json.loads(line)["params"]["taskId"], []).append(now)


class SilentClients:
    """The clients that hold a connection and do not read, or hardly."""

    def __init__(self, path: Path) -> None:
        subscribe = encode_request("subscribe", parentSessionId="*", after=0)
        self._all = [connect(path) for _ in range(CONNECTIONS - READERS - FUZZERS)]
        for one in self._all[: SUBSCRIBERS - READERS]:
            one.send(subscribe)
        self._slow = self._all[SUBSCRIBERS]
        self._slow.send(subscribe)
        for half in self._all[SUBSCRIBERS + 1 : SUBSCRIBERS + 1 + HALF_OPEN]:
            half.send(b'{"jsonrpc": "2.0", "id": 1, "meth')
            half.shutdown(socket.SHUT_WR if half.fileno() % 2 else socket.SHUT_RD)
        self._next = 0.0

    def read_slowly(self) -> None:
        """Let the slow subscriber read a byte, once per second."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1
            try:
                self._slow.recv(1)
            except BlockingIOError:
                return


class FuzzTrial:
    """The trial against one flusher."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Prepare a home; nothing is started."""
        self.options = options
        self.place = Place.create("fuzz")
        self.place.snapshot()
        self.place.configure(SETTINGS)
        self.socket = self.place.home / "bus.sock"
        self.problems: list[str] = []
        self.ended_at: dict[str, float] = {}
        self.highest_memory = 0

    def go(self) -> None:
        """Start everything, wait until the fuzzers have ended, and check the rest."""
        self.place.check("up", "--detach")
        self.place.check("pause", "fuzz")
        self._fill_log()
        self.flusher = self.place.role("flusher")[0].pid
        self.first_memory = memory(self.flusher, "Rss")
        self._try_other_user()
        clients, self.readers = SilentClients(self.socket), Readers(self.place)
        self.readers.start()
        fuzzers = [self._start_fuzzer(number) for number in range(FUZZERS)]
        self._probe(clients, fuzzers)
        self.counts = self._collect(fuzzers)
        self._check()

    def _fill_log(self) -> None:
        """Fill the log with some megabytes, for subscribers that read it from its beginning."""
        with self.place.connect() as client:
            for _ in range(20):
                for id in client.call("launchMany", tasks=[TASK | {"description": "d" * 2000}] * 50)["ids"]:
                    client.call("cancel", id=id)

    def _try_other_user(self) -> None:
        """The connection of another user is closed; the owner is served before and after."""
        if os.geteuid() != 0:
            print("another user: not tried, which needs root")
            return
        self._ping()
        done = self._request_as_other_user()
        answer = done.stdout.strip()
        is_refused = answer in CLOSED
        print(f"another user: {'refused' if is_refused else 'NOT REFUSED'}", answer or done.stderr.strip()[-200:])
        if not is_refused:
            self.problems.append("another user was served")
        self._ping()

    def _ping(self) -> None:
        with self.place.connect() as client:
            client.call("ping")

    def _request_as_other_user(self) -> subprocess.CompletedProcess[str]:
        """Send a request as another user, for whom every folder on the path to the socket is opened."""
        for path, mode in ((self.place.project, 0o711), (self.place.home, 0o711), (self.socket, 0o777)):
            path.chmod(mode)
        request = encode_request("ping").decode().strip()
        words = ["/usr/bin/env", "python3", "-I", "-c", OTHER_USER, str(self.socket), request]
        try:
            return subprocess.run(
                words, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, cwd="/", check=False
            )
        finally:
            for path in (self.place.project, self.place.home):
                path.chmod(0o700)

    def _start_fuzzer(self, number: int) -> subprocess.Popen[bytes]:
        messages, seconds = self.options.messages // FUZZERS, self.options.seconds
        words = [str(self.socket), str(messages), str(seconds), f"{self.options.seed} {number}"]
        with self._output(number).open("wb") as file:
            return self.place.start_module("scripts.trials.fuzz.trial", "--fuzzer", *words, log=file)

    def _output(self, number: int) -> Path:
        return self.place.project / f"fuzzer-{number}.json"

    def _probe(self, clients: SilentClients, fuzzers: list[subprocess.Popen[bytes]]) -> None:
        """End a task now and then, and watch the flusher's memory."""
        client = self.place.connect()
        while any(fuzzer.poll() is None for fuzzer in fuzzers):
            id = client.call("launch", **TASK, parentSessionId="ses-p")["id"]
            self.ended_at[id] = time.monotonic()
            client.call("cancel", id=id)
            clients.read_slowly()
            self.highest_memory = max(self.highest_memory, memory(self.flusher, "Rss"))
            time.sleep(0.2)

    def _collect(self, fuzzers: list[subprocess.Popen[bytes]]) -> Counter[str]:
        found: Counter[str] = Counter()
        for number, fuzzer in enumerate(fuzzers):
            output = self._output(number).read_text()
            if fuzzer.wait():
                self.problems.append(f"a fuzzer failed: {output}")
                continue
            counts, wrong = json.loads(output)
            found.update(counts)
            self.problems += [f"wrong answer: {one}" for one in wrong[:5]]
        return found

    def _check(self) -> None:
        last = list(self.ended_at)[-1]
        eventually(lambda: len(self.readers.received.get(last, [])) == READERS, 60, "the readers")
        self._check_delays()
        if self.highest_memory - self.first_memory > MAX_GROWTH:
            self.problems.append(f"the flusher grew by {(self.highest_memory - self.first_memory) >> 20} MiB")
        if [one.pid for one in self.place.role("flusher")] != [self.flusher]:
            self.problems.append("the flusher died")
        if failures := self.place.log.count("Traceback"):
            self.problems.append(f"{failures} tracebacks in the log")

    def _check_delays(self) -> None:
        received = [(id, at) for id, times in self.readers.received.items() if id in self.ended_at for at in times]
        delays = sorted(1000 * (at - self.ended_at[id]) for id, at in received)
        if len(delays) != READERS * len(self.ended_at):
            self.problems.append(f"{READERS * len(self.ended_at)} ends were to be delivered, {len(delays)} were")
        median, high, worst = statistics.median(delays), delays[int(len(delays) * 0.99)], delays[-1]
        self.delays = f"median {median:.1f} ms, 99th percentile {high:.1f} ms, worst {worst:.1f} ms"
        factor = SHORT_FACTOR if self.options.short else 1
        if median > MEDIAN_MS * factor or high > WORST_MS * factor:
            self.problems.append(f"the delivery was too slow: {self.delays}")

    def report(self, seconds: float) -> None:
        """Print the figures and the problems."""
        clients = f"{CONNECTIONS} connections, {SUBSCRIBERS} subscribers, of which {READERS} read"
        print(f"seed {self.options.seed}, {seconds:.0f} s, {clients}")
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.most_common())
        print(f"messages {self.counts['sent']}: {counts}")
        print(f"flusher: {self.first_memory / 2**20:.1f} MiB first, {self.highest_memory / 2**20:.1f} MiB at most")
        print(f"delivery: {self.delays}")
        for problem in self.problems:
            print(f"  {problem}")


def fuzz(path: str, messages: str, seconds: str, seed: str) -> int:
    """Run as a fuzzer, and print its counts and the wrong answers."""
    fuzzer = Fuzzer(Path(path), seed)
    fuzzer.run(int(messages), float(seconds))
    print(json.dumps([fuzzer.counts, fuzzer.wrong]))
    return 0


def main() -> int:
    """Run the trial, or one of its fuzzers."""
    parser = argparse.ArgumentParser(prog="fuzz-bus", description="Send malformed messages to a flusher.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="messages in all (1000000)")
    parser.add_argument("--seconds", type=float, default=600, help="how long at most (600)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="(random, printed)")
    parser.add_argument("--short", action="store_true", help="twenty seconds")
    parser.add_argument("--fuzzer", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fuzzer:
        return fuzz(*options.fuzzer)
    options.seconds = 20 if options.short else options.seconds
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    trial, began = FuzzTrial(options), time.monotonic()
    try:
        trial.go()
        trial.report(time.monotonic() - began)
    finally:
        trial.place.remove()
    return 1 if trial.problems else 0


if __name__ == "__main__":
    sys.exit(main())
