"""Calls in real runner processes: the journal, and what one call leaves for the next."""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.errors import Temporary
from backburner.ipc.home import Home
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.supervisor.execution.plan import CannotStart
from backburner.supervisor.execution.runner.journal import end_line
from backburner.supervisor.execution.runner.marks import ROOM
from backburner.supervisor.execution.runner.outputs import OUTPUT_LIMIT
from backburner.supervisor.execution.runner.wire import ORDER_LIMIT, Order, decode_order, encode_order
from backburner.supervisor.execution.runner_pool import LazyRunner, Runner
from tests.helpers.wait import eventually

#: A program of a worker that forks its runner, sends it one order and prints what the journal has in the end.
FORKING_WORKER = """
import os, sys
from backburner.supervisor.execution.runner.wire import Order
from backburner.supervisor.execution.runner_pool import Runner
runner = Runner.forked()
journal = os.open("journal", os.O_RDWR | os.O_CREAT | os.O_APPEND)
hello = {"outputs": os.path.abspath("own"), "claims": os.getcwd(), "home": "/h", "homeId": "1:2"}
hello |= {"environment": {}, "given": {}, "inherited": {}}
runner.start(hello, journal)
order = Order(1, 1, "bg-1", None, sys.argv[1], sys.argv[2], None, "/", None, None, False)
assert runner.send(order, str)
runner.channel.recv(1)
print(os.pread(journal, 4096, 0).decode(), end="")
"""


class Worker:
    """The worker's side of one runner, without a database."""

    def __init__(self, folder: Path, runner: Runner, environment: dict[str, str]) -> None:
        self.folder = folder
        self.runner = runner
        self.project = folder / "project"
        for one in (folder / "claims", self.project):
            one.mkdir(exist_ok=True)
        self.journal_path = folder / "journal"
        self.journal = os.open(self.journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self.claim = 0
        self.hello = {
            "outputs": str(folder / "own"),
            "claims": str(folder / "claims"),
            "home": str(folder),
            "homeId": "1:2",
            "environment": environment,
            "given": {},
            "inherited": {"INHERITED": "from the supervisor"},
        }

    def start(self) -> Worker:
        self.runner.start(self.hello, self.journal)
        return self

    def module(self, text: str, name: str = "jobs") -> Path:
        """Write a module into the project's folder."""
        path = self.project / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        return path

    def order(self, call: str, *args: object, **fields: Any) -> Order:
        self.claim += 1
        values = {
            "attempt": 1,
            "id": f"bg-{self.claim}",
            "parent": None,
            "call": call,
            "args": json.dumps(args),
            "kwargs": None,
            "cwd": str(self.project),
            "env": None,
            "stdin": None,
            "leave_children": False,
        }
        return Order(self.claim, **{**values, **fields})

    def submit(self, call: str, *args: object, **fields: Any) -> int:
        order = self.order(call, *args, **fields)
        assert self.runner.send(order, self.write_order)
        return order.claim

    def write_order(self, data: bytes) -> str:
        path = self.folder / "order"
        path.write_bytes(data)
        return str(path)

    def lines(self) -> list[bytes]:
        """Return the journal's lines, then those that were received over the channel."""
        self.runner.read()
        return [*self.journal_path.read_bytes().splitlines(keepends=True), *self.runner.lines]

    def end_of(self, claim: int) -> tuple[str, dict[str, Any]] | None:
        """Return the kind and the document of a call's end line."""
        died = self.runner.status() is not None  # read before the lines: nothing is noted after that
        for line in self.lines():
            kind, number, _ = line.split(b" ", 2)
            if kind in b"ex" and int(number) == claim:
                text, _, checksum = line.rpartition(b" ")
                assert int(checksum, 16) == zlib.crc32(text)
                return kind.decode(), json.loads(text.split(b" ", 3)[3])
        assert not died, f"the runner ended: {self.end()}, {self.printed('stderr')}"
        return None

    def ended(self, claim: int) -> tuple[str, dict[str, Any]]:
        return eventually(lambda: self.end_of(claim), message=f"the end of {claim}")

    def run(self, call: str, *args: object, **fields: Any) -> dict[str, Any]:
        """Run a call that leaves nothing behind; return its document."""
        kind, document = self.ended(self.submit(call, *args, **fields))
        assert kind == "e"
        return document

    def result(self, call: str, *args: object, **fields: Any) -> Any:
        document = self.run(call, *args, **fields)
        assert "result" in document, document
        return json.loads(document["result"])

    def is_retired(self) -> bool:
        self.runner.read()
        return self.runner.retired

    def wait_until_retired(self) -> None:
        eventually(self.is_retired, message="the runner to retire")

    def started(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines() if line.startswith(b"s ")]

    def wait_until_started(self, claim: int) -> None:
        eventually(lambda: claim in self.started(), message=f"the start of {claim}")

    def end(self) -> int:
        """Return the exit code of the runner, which is killed if it has not ended."""
        return os.waitstatus_to_exitcode(self.runner.end())

    def wait_until_hung_up(self) -> None:
        eventually(lambda: (self.runner.read(), self.runner.hung_up)[1], message="the end of the channel")

    def printed(self, stream: str = "stdout") -> str:
        """Return the output of the current call so far."""
        own = self.folder / f"own.{stream}"
        return own.read_text() if own.exists() else ""

    def close(self) -> None:
        self.runner.close()
        self.end()
        os.close(self.journal)


@pytest.fixture
def new_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Worker]]:
    """Return a function that starts a runner; all of them use the same project, and are ended afterwards."""
    monkeypatch.setenv(ROOM, " " * 200)
    started: list[Worker] = []

    def new() -> Worker:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        worker = Worker(folder, Runner.of(sys.executable), {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
        worker.project = tmp_path / "project"
        worker.project.mkdir(exist_ok=True)
        started.append(worker)
        return worker.start()

    yield new
    for worker in started:
        worker.close()


@pytest.fixture
def worker(new_worker: Callable[[], Worker]) -> Worker:
    return new_worker()


# -- orders, journal, notices


def test_call_is_journaled_when_it_begins_and_ends(worker: Worker):
    assert worker.result("json:loads", "[1, 2]") == [1, 2]
    begin, end = worker.lines()
    assert begin.split()[:2] == [b"s", b"1"]
    us = int(end.split()[2])
    assert end == end_line("e", 1, us, {"result": "[1, 2]"})
    assert us >= int(begin.split()[2])


def test_calls_run_in_the_order_in_which_they_were_sent(worker: Worker):
    claims = [worker.submit("json:loads", str(number)) for number in range(100)]
    worker.ended(claims[-1])
    assert worker.started() == claims


@pytest.mark.parametrize(
    ("call", "args", "result"),
    [("json:loads", ["[1]"], [1]), ("signal:getsignal", [signal.SIGPIPE], signal.SIG_IGN), ("time:tzset", [], None)],
)
def test_forked_runner_of_a_worker_runs_calls(tmp_path: Path, call: str, args: list[object], result: object):
    argv = [sys.executable, "-c", FORKING_WORKER, call, json.dumps(args)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=True)
    begin, end = done.stdout.splitlines()
    assert begin.startswith("s 1 ")
    assert json.loads(json.loads(end.rpartition(" ")[0].split(" ", 3)[3])["result"]) == result


def test_interpreter_that_does_not_exist_cannot_be_started():
    with pytest.raises(CannotStart, match="/no/python"):
        Runner.of("/no/python")


def test_runner_that_cannot_be_started_now_is_started_later(home: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    met: list[Runner] = []
    with closing(SqliteStore(Home(home).prepare())) as database:
        runner = LazyRunner(database, met.append, met.remove)
        database.release()
        before = os.listdir("/dev/fd")
        with monkeypatch.context() as patch, pytest.raises(Temporary, match="Resource temporarily unavailable"):
            patch.setattr("backburner.supervisor.execution.runner_pool.fork", refuse)
            runner.get("")
        with pytest.raises(Temporary, match="Resource temporarily unavailable"):
            LazyRunner(database, refuse, refuse).get(sys.executable)
        assert os.listdir("/dev/fd") == before
        assert runner.get(sys.executable) is runner.get(sys.executable) is met[0]
        met[0].close()
        met[0].end()


def test_waiting_runner_is_replaced_if_a_call_needs_another_interpreter(home: Path):
    met: list[Runner] = []
    with closing(SqliteStore(Home(home).prepare())) as database:
        lazy = LazyRunner(database, met.append, met.remove)
        first = lazy.get("/bin/cat")
        assert lazy.get("/bin/cat") is first
        lazy.mark_outdated()
        second = lazy.get(sys.executable)
        assert met == [second]
        assert first.status() is not None, "the first runner has ended"
        assert second.status() is None
        second.close()
        second.end()


@pytest.mark.parametrize("text", ["", "\0", "\n", "\u2028", "é", "\ud800", '"', "x" * ORDER_LIMIT])
def test_order_arrives_unchanged(text: str):
    env = json.dumps({"A": text})
    order = Order(7, 2, "bg-7", text, "m:f", json.dumps([text]), None, f"/{text}", env, None, True, env, "0077")
    assert decode_order(encode_order(order)) == order._replace(kwargs="")


def test_order_too_long_for_a_datagram_goes_by_file(worker: Worker):
    text = "x" * ORDER_LIMIT
    assert worker.result("builtins:len", text) == len(text)
    assert (worker.folder / "order").exists()


def test_orders_that_were_not_received_are_taken_back(worker: Worker):
    worker.module("import os\ndef block(path): open(path).read()")
    pipe = worker.folder / "pipe"
    os.mkfifo(pipe)
    blocked = worker.submit("jobs:block", str(pipe))
    worker.wait_until_started(blocked)
    later = [worker.submit("json:loads", "1"), worker.submit("builtins:len", "x" * ORDER_LIMIT)]
    assert worker.runner.take_back() == later
    pipe.write_text("")
    worker.ended(blocked)
    worker.ended(worker.submit("json:loads", "1"))
    assert not set(later) & set(worker.started())


def test_full_queue_refuses_an_order(worker: Worker):
    os.kill(worker.runner.pid, signal.SIGSTOP)
    sent = 0
    while sent < 100_000 and worker.runner.send(worker.order("json:loads", "1"), str):
        sent += 1
    assert 0 < sent < 100_000
    assert len(worker.runner.take_back()) == sent
    os.kill(worker.runner.pid, signal.SIGCONT)
    assert worker.result("json:loads", "2") == 2


def test_runner_works_without_seqpacket_sockets(monkeypatch: pytest.MonkeyPatch, new_worker: Callable[[], Worker]):
    monkeypatch.delattr(socket, "SOCK_SEQPACKET")
    worker = new_worker()
    assert worker.result("json:loads", "[1]") == [1]
    assert worker.result("builtins:len", "x" * ORDER_LIMIT) == ORDER_LIMIT
    worker.runner.channel.shutdown(socket.SHUT_WR)
    worker.wait_until_hung_up()


def test_idle_notice_is_sent_when_the_queue_is_empty(worker: Worker):
    worker.submit("json:loads", "1")
    assert select.select([worker.runner.channel], [], [], 10)[0]
    assert worker.runner.channel.recv(16) == b"i\n"


def test_runner_exits_when_the_channel_ends(worker: Worker):
    worker.run("json:loads", "1")
    worker.runner.channel.shutdown(socket.SHUT_WR)
    worker.wait_until_hung_up()
    assert worker.end() == 0


def test_runner_that_died_is_retired(worker: Worker):
    worker.submit("os:_exit", 3)
    worker.wait_until_hung_up()
    assert worker.runner.retired
    assert worker.end() == 3


def test_end_line_goes_over_the_channel_if_the_journal_is_full(worker: Worker):
    worker.run("json:loads", "1")
    size = worker.journal_path.stat().st_size
    begin = len(b"s 2 1700000000000000\n")
    limit_file_size(worker.runner.pid, size + begin + 10)
    claim = worker.submit("json:loads", "2")
    worker.ended(claim)
    assert [line.split()[:2] for line in worker.runner.lines] == [[b"e", b"2"]]
    assert worker.journal_path.read_bytes().endswith(b"\n")
    assert worker.journal_path.stat().st_size == size + begin


def test_call_does_not_begin_while_the_journal_is_full(worker: Worker):
    worker.run("json:loads", "1")
    limit_file_size(worker.runner.pid, worker.journal_path.stat().st_size + 3)
    claim = worker.submit("json:loads", "2")
    eventually(lambda: (worker.runner.read(), worker.runner.blocked)[1])
    assert worker.started() == [1]
    limit_file_size(worker.runner.pid, resource.RLIM_INFINITY)
    worker.runner.resume()
    assert worker.ended(claim) == ("e", {"result": "2"})
    assert not worker.runner.blocked


def test_output_that_does_not_fit_on_the_disk_fails_the_call(worker: Worker):
    worker.run("json:loads", "1")
    worker.module("def f(): print('x' * 5000, end='')")
    limit_file_size(worker.runner.pid, 2000)
    assert "File too large" in worker.run("jobs:f")["error"]
    worker.wait_until_retired()


def limit_file_size(pid: int, size: int) -> None:
    """Make a process fail to write beyond this size, as if the disk were full."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


# -- results


def test_failure_has_an_error_and_a_traceback_of_the_users_code(worker: Worker):
    worker.module("def f(): raise ValueError('no such thing')")
    document = worker.run("jobs:f")
    assert document["error"] == "ValueError: no such thing"
    assert document["errorKind"] == "failed"
    assert "jobs.py" in document["stderr"]
    assert "/runner/" not in document["stderr"]


def test_runner_survives_a_call_that_fails_in_any_way(worker: Worker):
    worker.module("""
        def f(kind): raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "base": BaseException("b")}[kind]
        def circular():
            found = []
            found.append(found)
            return found
    """)
    errors = [worker.run("jobs:f", kind)["error"] for kind in ("exit", "interrupt", "base")]
    assert errors == ["SystemExit: 3", "KeyboardInterrupt", "BaseException: b"]
    assert "Circular" in worker.run("jobs:circular")["error"]
    assert "No module named" in worker.run("nowhere:f")["error"]
    assert "attribute" in worker.run("jobs:missing")["error"]
    assert worker.result("json:loads", "1") == 1


@pytest.mark.parametrize("code", [0, None])
def test_sys_exit_without_a_failure_returns_none(worker: Worker, code: int | None):
    assert worker.result("sys:exit", code) is None


def test_coroutine_function_is_run(worker: Worker):
    worker.module("""
        import asyncio
        async def f(value):
            await asyncio.sleep(0)
            return value
    """)
    assert [worker.result("jobs:f", 5), worker.result("jobs:f", 6)] == [5, 6]
    assert not worker.is_retired()


def test_result_may_be_any_text(worker: Worker):
    for text in ("\ud800", "\n\x85\u2028", "日本", '"\\'):
        worker.module(f"def f(): return {text!a}", f"text{ord(text[0])}")
        assert worker.result(f"text{ord(text[0])}:f") == text


def test_folder_that_does_not_exist_fails_the_call(worker: Worker):
    assert "/no/folder" in worker.run("json:loads", "1", cwd="/no/folder")["error"]
    assert worker.result("json:loads", "1") == 1


# -- output


def test_short_output_goes_into_the_journal_once(worker: Worker):
    worker.module("""
        import os, sys
        def f(text):
            print(text, end="")
            print(text * 2, file=sys.stderr)
            os.write(1, b"\\xff")
    """)
    first, second = worker.run("jobs:f", "a"), worker.run("jobs:f", "b")
    assert (sorted(first["stdout"]), first["stderr"]) == (sorted("a\xff"), "aa\n")
    assert (sorted(second["stdout"]), second["stderr"]) == (sorted("b\xff"), "bb\n")
    assert worker.run("json:loads", "1") == {"result": "1"}


def test_long_output_is_kept_in_a_file_of_its_claim(worker: Worker):
    worker.module("def f(size): print('x' * size, end='')")
    assert worker.run("jobs:f", OUTPUT_LIMIT) == {"result": "null", "stdout": "x" * OUTPUT_LIMIT}
    assert worker.run("jobs:f", OUTPUT_LIMIT + 1) == {"result": "null", "kept": ["stdout"]}
    assert (worker.folder / "claims" / "2.stdout").stat().st_size == OUTPUT_LIMIT + 1
    assert worker.run("jobs:f", 1)["stdout"] == "x"


def test_output_that_the_worker_has_linked_stays_under_that_name(worker: Worker):
    worker.module("""
        def f(path):
            print("before", flush=True)
            open(path).read()
    """)
    pipe = worker.folder / "pipe"
    os.mkfifo(pipe)
    claim = worker.submit("jobs:f", str(pipe))
    own = worker.folder / "own.stdout"
    eventually(lambda: worker.printed() == "before\n")
    linked = worker.folder / "claims" / f"{claim}.stdout"
    linked.hardlink_to(own)
    pipe.write_text("")
    assert worker.ended(claim) == ("e", {"result": "null", "kept": ["stdout"]})
    worker.run("builtins:print", "of another call")
    assert linked.read_text() == "before\n"
    assert linked.stat().st_nlink == 1


def test_output_can_be_followed_while_the_call_runs(worker: Worker):
    worker.module("""
        def f(path):
            for number in range(3): print("line", number)
            open(path).read()
    """)
    pipe = worker.folder / "pipe"
    os.mkfifo(pipe)
    claim = worker.submit("jobs:f", str(pipe))
    eventually(lambda: worker.printed() == "line 0\nline 1\nline 2\n")
    pipe.write_text("")
    worker.ended(claim)


REPLACED = {
    "closed": "sys.stdout.close(); sys.stderr.close()",
    "replaced": "sys.stdout = open(os.devnull, 'w'); sys.stderr = None",
    "deleted": "del sys.stdout, sys.stderr",
    "detached": "sys.stdout.detach()",
    "reconfigured": "sys.stdout.reconfigure(encoding='ascii', line_buffering=False)",
    "not a file": "sys.stdout = object()",
    "descriptors closed": "os.close(1); os.close(2); os.close(0)",
    "descriptors replaced": "null = os.open('/', 0); [os.dup2(null, n) for n in range(3)]; os.close(null)",
}


@pytest.mark.parametrize("kind", REPLACED)
def test_call_can_print_after_an_earlier_one_replaced_the_streams(worker: Worker, kind: str):
    worker.module(f"""
        import os, sys
        def harm(): {REPLACED[kind]}
        def speak():
            print("ä", flush=True)
            print("err", file=sys.stderr)
            return [sys.stdin.read(), os.fstat(1).st_size > 0]
    """)
    worker.run("jobs:harm")
    document = worker.run("jobs:speak")
    assert document == {"result": '["", true]', "stdout": "ä".encode().decode("latin-1"), "stderr": "err\n"} | {
        "stdout": "ä\n".encode().decode("latin-1")
    }


def test_failure_is_reported_after_stderr_was_closed(worker: Worker):
    worker.module("""
        import sys
        def f():
            sys.stderr.close()
            raise ValueError("still seen")
    """)
    document = worker.run("jobs:f")
    assert document["error"] == "ValueError: still seen"
    assert "still seen" in document["stderr"]


def test_each_call_reads_its_own_stdin(worker: Worker):
    worker.module("""
        import sys
        def f(): return sys.stdin.readline()
        def all(): return sys.stdin.read()
    """)
    for name in ("one", "two"):
        (worker.folder / name).write_text(f"secret of {name}\nrest of {name}\n")
    assert worker.result("jobs:f", stdin=str(worker.folder / "one")) == "secret of one\n"
    assert worker.result("jobs:f", stdin=str(worker.folder / "two")) == "secret of two\n"
    assert worker.result("jobs:all") == ""
    assert "No such file" in worker.run("jobs:f", stdin=str(worker.folder / "three"))["error"]


# -- children, threads, signals


FORKS = {
    "returns": ("return 'child'", 0),
    "exits": ("sys.exit(7)", 7),
    "exits with a sentence": ("sys.exit('over')", 1),
    "fails": ("raise ValueError('child')", 1),
}


@pytest.mark.parametrize("kind", FORKS)
def test_forked_child_ends_with_its_own_exit_code(worker: Worker, kind: str):
    code, status = FORKS[kind]
    worker.module(f"""
        import os, sys
        def f():
            pid = os.fork()
            if not pid:
                print("from the child")
                {code}
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    """)
    document = worker.run("jobs:f")
    assert document["result"] == str(status)
    assert document["stdout"] == "from the child\n"
    assert worker.result("json:loads", "1") == 1
    assert len(worker.lines()) == 4
    assert not worker.is_retired()


def test_forked_child_has_none_of_the_workers_descriptors(worker: Worker):
    worker.module("""
        import os
        def open_files():
            with os.scandir("/proc/self/fd") as found:
                return {os.stat(one.path, follow_symlinks=True).st_ino for one in found}
        def f():
            reader, writer = os.pipe()
            if not os.fork():
                os.write(writer, repr(open_files()).encode())
                os._exit(0)
            os.wait()
            found = eval(os.read(reader, 10000))
            os.close(reader)
            os.close(writer)
            return [sorted(open_files()), sorted(found)]
    """)
    in_runner, in_child = map(set, worker.result("jobs:f"))
    assert worker.journal_path.stat().st_ino in in_runner - in_child
    assert len(in_runner - in_child) >= 3


def test_children_that_are_left_are_reported_and_retire_the_runner(worker: Worker):
    worker.module("""
        import subprocess
        def f():
            print("before")
            return subprocess.Popen(["sleep", "99"]).pid
    """)
    kind, document = worker.ended(worker.submit("jobs:f"))
    assert kind == "x"
    assert document["kept"] == ["stdout", "stderr"]
    assert (worker.folder / "claims" / "1.stdout").read_text() == "before\n"
    worker.wait_until_retired()
    os.kill(int(document["result"]), signal.SIGKILL)


def test_daemonised_grandchild_is_reported(worker: Worker):
    worker.module("""
        import subprocess
        def f(): return int(subprocess.check_output("sleep 99 >/dev/null & echo $!", shell=True))
    """)
    kind, document = worker.ended(worker.submit("jobs:f"))
    assert kind == "x"
    os.kill(int(document["result"]), signal.SIGKILL)


def test_children_that_have_ended_are_reaped(worker: Worker):
    worker.module("""
        import os, select
        def f():
            reader, writer = os.pipe()
            if not os.fork():
                os._exit(0)
            os.close(writer)
            select.select([reader], [], [])
            os.close(reader)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    """)
    worker.run("jobs:f")
    assert worker.result("json:loads", "1") == 1
    assert not worker.is_retired()


def test_threads_that_are_left_retire_the_runner(worker: Worker):
    worker.module("""
        import threading
        def f():
            threading.Thread(target=threading.Event().wait).start()
            return 1
    """)
    kind, document = worker.ended(worker.submit("jobs:f"))
    assert (kind, document["result"], document["last"]) == ("e", "1", True)
    worker.wait_until_retired()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_in_call_after_call(worker: Worker, method: str):
    worker.module("""
        import multiprocessing
        from multiprocessing import shared_memory
        def f(method):
            with multiprocessing.get_context(method).Pool(1) as pool:
                found = pool.map(abs, [-1])
                pool.close()
                pool.join()
            memory = shared_memory.SharedMemory(create=True, size=8)
            memory.close()
            memory.unlink()
            return found
    """)
    for _ in range(2):
        assert worker.result("jobs:f", method) == [1]


def test_broken_pipes_raise_errors_as_in_any_python_program(worker: Worker):
    worker.module("""
        import os, signal, socket, subprocess
        def f():
            reader, writer = os.pipe()
            os.close(reader)
            one, other = socket.socketpair()
            other.close()
            try: os.write(writer, b"x")
            except BrokenPipeError: os.close(writer)
            try: one.send(b"x")
            except BrokenPipeError: one.close()
            ended = subprocess.Popen(["true"], stdin=subprocess.PIPE)
            ended.wait()
            try: ended.communicate(b"x" * 100000)
            except BrokenPipeError: pass
            ignored = [signal.getsignal(number) == signal.SIG_IGN for number in (signal.SIGPIPE, signal.SIGXFSZ)]
            return [*ignored, signal.getsignal(signal.SIGINT) is signal.default_int_handler]
    """)
    assert worker.result("jobs:f") == [True, True, True]


def test_subprocess_of_a_call_has_default_signals(worker: Worker):
    worker.module("""
        import subprocess
        def f(): return subprocess.check_output(["grep", "SigIgn", "/proc/self/status"], text=True)
    """)
    ignored = int(worker.result("jobs:f").split()[1], 16)
    assert [number for number in signal.Signals if ignored >> number - 1 & 1] == []


# -- state that is restored after each call

STATE = {
    "umask": ("os.umask(0o077)", "os.umask(0o022) == 0o022 or oct(os.umask(0o022))"),
    "umask through ctypes": ("import ctypes; ctypes.CDLL(None).umask(0o077); busy()", "os.umask(0o022) == 0o022"),
    "nice": ("os.nice(3)", "os.nice(0) == os.getpriority(os.PRIO_PROCESS, os.getppid())"),
    "files": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
        "resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 40",
    ),
    "ignored signal": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.getsignal(signal.SIGTERM) == signal.SIG_DFL",
    ),
    "handler": (
        "signal.signal(signal.SIGINT, print)",
        "signal.getsignal(signal.SIGINT) is signal.default_int_handler",
    ),
    "mask": ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", "not signal.pthread_sigmask(0, [])"),
    "alarm": ("signal.alarm(1)", "signal.alarm(0) == 0"),
    "timer": ("signal.setitimer(signal.ITIMER_PROF, 5)", "signal.getitimer(signal.ITIMER_PROF)[0] == 0"),
    "wakeup descriptor": ("signal.set_wakeup_fd(1, warn_on_full_buffer=False)", "signal.set_wakeup_fd(-1) == -1"),
    "recursion": ("sys.setrecursionlimit(300)", "sys.getrecursionlimit() == 1000"),
    "affinity": (
        "os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])",
        "len(os.sched_getaffinity(0)) == len(os.sched_getaffinity(os.getppid()))",
    ),
    "locale": ("locale.setlocale(locale.LC_ALL, 'C')", "locale.setlocale(locale.LC_CTYPE) != 'C'"),
    "time zone": ("os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()", "time.timezone == 0"),
    "time zone alone": (
        "os.environ['TZ'] = 'Asia/Tokyo'; time.tzset(); del os.environ['TZ']",
        "time.timezone == 0",
    ),
    "warnings": ("warnings.simplefilter('error')", "warnings.warn('only a warning') is None"),
    "folder": ("os.chdir('/')", "os.getcwd() != '/'"),
    "variable": (
        "os.environ['ADDED'] = 'x'; del os.environ['PATH']",
        "'PATH' in os.environ and 'ADDED' not in os.environ",
    ),
    "putenv": ("os.putenv('ADDED', 'x')", "os.system('test -z \"$ADDED\"') == 0"),
    "unsetenv": ("os.unsetenv('PATH'); os.unsetenv('LANG')", "os.system('test -n \"$LANG\"') == 0"),
    "environ": ("os.environ = {}", "os.environ['PATH'] == os.getenv('PATH') and isinstance(os.environ, os._Environ)"),
    "path": ("sys.path[0] = '/nowhere'", "'/nowhere' not in sys.path"),
    "path emptied": ("sys.path = []", "len(sys.path) > 1"),
    "arguments": ("sys.argv.append('x')", "sys.argv[1:] == []"),
    "collector": ("gc.disable(); gc.set_threshold(1)", "gc.isenabled() and gc.get_threshold()[0] > 1"),
    "fault handler": ("faulthandler.enable()", "not faulthandler.is_enabled()"),
    "fault handler's timer": ("faulthandler.dump_traceback_later(0.4, exit=True)", "busy(0.6) is None"),
    "trace": ("sys.settrace(lambda *a: None)", "sys.gettrace() is None"),
    "hook": ("sys.excepthook = print", "sys.excepthook is sys.__excepthook__"),
    "socket timeout": ("socket.setdefaulttimeout(1)", "socket.getdefaulttimeout() is None"),
    "decimal context": ("decimal.getcontext().prec = 3", "decimal.getcontext().prec == 28"),
}


@pytest.mark.parametrize("kind", STATE)
def test_state_is_restored_after_each_call(worker: Worker, kind: str):
    change, check = STATE[kind]
    worker.module(f"""
        import decimal, faulthandler, gc, locale, os, resource, signal, socket, sys, time, warnings
        def busy(seconds=0.01):
            end = time.monotonic() + seconds
            while time.monotonic() < end: pass
        def nothing(): pass
        def change(): {change}
        def check(): return {check}
    """)
    worker.run("jobs:nothing")
    worker.run("jobs:change")
    assert worker.result("jobs:check") is True
    assert not worker.is_retired()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its groups")
def test_state_that_cannot_be_restored_retires_the_runner(worker: Worker):
    worker.run("os:setgroups", [12345])
    worker.wait_until_retired()


def test_leaked_descriptors_retire_the_runner(worker: Worker):
    worker.module("""
        import os
        def f(): os.open(os.devnull, os.O_RDONLY)
        def in_a_cycle():
            found = [open(os.devnull)]
            found.append(found)
    """)
    assert "last" not in worker.run("jobs:in_a_cycle")
    assert worker.result("json:loads", "1") == 1
    assert not worker.is_retired()
    assert worker.run("jobs:f")["last"] is True
    worker.wait_until_retired()


def test_result_of_a_call_that_closes_all_descriptors_is_journaled(worker: Worker):
    worker.module("import os\ndef f():\n    os.closerange(3, 1000)\n    return 5")
    claim = worker.submit("jobs:f")
    eventually(lambda: any(line.startswith(b"e ") for line in worker.lines()), message="the end line")
    os.waitid(os.P_PID, worker.runner.pid, os.WEXITED | os.WNOWAIT)
    assert worker.end() == 0
    assert worker.end_of(claim) == ("e", {"result": "5", "last": True})


def test_files_that_replace_the_runners_descriptors_are_not_written_to(worker: Worker):
    worker.module("""
        import os
        def f(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT)
            for number in range(3, 1024):
                try: os.fstat(number)
                except OSError: continue
                os.dup2(file, number)
    """)
    path = worker.folder / "users"
    worker.run("jobs:f", str(path))
    worker.wait_until_hung_up()
    assert path.read_bytes() == b""


# -- environment and modules


def test_environment_has_the_base_the_launch_and_the_marks(worker: Worker):
    worker.module("import os\ndef f(): return dict(os.environ)")
    env = json.dumps({"LANG": "de", "INHERITED": None, "UNKNOWN": None, "NEW": "n"})
    found = worker.result("jobs:f", env=env, parent="ses-1", attempt=2, leave_children=True)
    assert found == {
        "PATH": os.environ["PATH"],
        "LANG": "de",
        "INHERITED": "from the supervisor",
        "NEW": "n",
        "PWD": str(worker.project),
        "BACKBURNER_CLAIM": "1",
        "BACKBURNER_HOME": str(worker.folder),
        "BACKBURNER_HOME_ID": "1:2",
        "BACKBURNER_TASK_ID": "bg-1",
        "BACKBURNER_ATTEMPT": "2",
        "BACKBURNER_PARENT_SESSION_ID": "ses-1",
        "BACKBURNER_LEAVE_CHILDREN": "1",
    }
    later = worker.result("jobs:f")
    assert (later["LANG"], later["BACKBURNER_CLAIM"]) == ("C.UTF-8", "2")
    assert not later.keys() & {"NEW", "BACKBURNER_PARENT_SESSION_ID", "BACKBURNER_LEAVE_CHILDREN"}


def test_environment_of_the_launcher_replaces_the_inherited_one(worker: Worker):
    worker.module("import os\ndef f(): return sorted(os.environ.items() - {'PATH': os.environ['PATH']}.items())")
    found = dict(
        worker.result("jobs:f", launcher_env=json.dumps({"LANG": None, "INH*": None, "A": "1"}), env='{"A": "2"}')
    )
    assert not found.keys() & {"LANG", "INHERITED"}
    assert found["A"] == "2"


def test_umask_is_that_of_the_launch_or_of_the_worker(worker: Worker):
    worker.module("import os\ndef f(path): os.close(os.open(path, os.O_CREAT)); os.umask(0)")
    own = os.umask(0o077)
    os.umask(own)
    modes = []
    for number, mask in enumerate(("0077", "0027", None, "0077")):
        path = worker.folder / f"file-{number}"
        worker.result("jobs:f", str(path), umask=mask)
        modes.append(path.stat().st_mode & 0o777)
    assert modes == [0o700, 0o750, 0o777 & ~own, 0o700]


def test_subprocess_of_a_call_has_the_environment_of_that_call(worker: Worker):
    worker.module("import subprocess\ndef f(): return subprocess.check_output(['env'], text=True).splitlines()")
    for number in (1, 2, 3):
        found = worker.result("jobs:f")
        assert found.count(f"BACKBURNER_CLAIM={number}") == 1
        assert len([line for line in found if line.startswith("BACKBURNER_")]) == 5


def test_kernel_shows_the_marks_of_the_current_call(worker: Worker):
    worker.module("def f():\n    with open('/proc/self/environ', 'rb') as file: return file.read().decode()")
    for number in (1, 2):
        found = worker.result("jobs:f", leave_children=number == 1).split("\0")
        assert {f"BACKBURNER_CLAIM={number}", f"BACKBURNER_HOME={worker.folder}"} <= set(found)
        assert ("BACKBURNER_LEAVE_CHILDREN=1" in [one.rstrip() for one in found]) == (number == 1)
    shown = Path(f"/proc/{worker.runner.pid}/environ")
    eventually(lambda: b"BACKBURNER_CLAIM" not in shown.read_bytes())


@pytest.mark.parametrize("is_safe_path", ["", "1"])
def test_call_cannot_import_modules_of_the_runner(
    new_worker: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, is_safe_path: str
):
    monkeypatch.setenv("PYTHONSAFEPATH", is_safe_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    worker = new_worker()
    worker.module("import sys\ndef f(): return sys.path")
    command = [sys.executable, "-P", "-c", "import json, sys; print(json.dumps(sys.path))"]
    usual = json.loads(subprocess.check_output(command, text=True))
    assert worker.result("jobs:f") == [str(worker.project), *usual]
    for name in ("wire", "call_runner"):
        assert "No module named" in worker.run(f"{name}:f")["error"]


def test_time_zone_of_the_launch_is_used(worker: Worker):
    worker.module("import time\ndef f(): return time.strftime('%H %Z', time.localtime(0))")
    assert worker.result("jobs:f", env='{"TZ": "Asia/Tokyo"}') == "09 JST"
    assert worker.result("jobs:f", env='{"TZ": "America/New_York"}') == "19 EST"
    assert worker.result("jobs:f") == "00 UTC"


def test_python_path_of_the_launch_is_used(worker: Worker):
    library = worker.folder / "library"
    library.mkdir()
    (library / "extra.py").write_text("VALUE = 5")
    worker.module("def f():\n    import extra\n    return extra.VALUE")
    assert worker.result("jobs:f", env=json.dumps({"PYTHONPATH": str(library)})) == 5
    assert "No module named 'extra'" in worker.run("jobs:f")["error"]


def test_call_in_another_folder_has_the_modules_of_that_folder(worker: Worker):
    other = worker.folder / "other"
    (other / "package").mkdir(parents=True)
    (other / "package" / "inner.py").write_text("def f(): return 'other'")
    (worker.project / "package").mkdir()
    (worker.project / "package" / "inner.py").write_text("def f(): return 'project'")
    worker.module("import sys\ndef harm(): sys.path.pop(0)")
    assert worker.result("package.inner:f") == "project"
    worker.run("jobs:harm")
    assert worker.result("package.inner:f", cwd=str(other)) == "other"
    assert worker.result("json:loads", "1", cwd="/") == 1
    assert worker.result("package.inner:f") == "project"


def test_module_edited_while_its_call_runs_is_reloaded(worker: Worker, new_worker: Callable[[], Worker]):
    worker.module("VALUE = 1", "values")
    worker.module("""
        def f(path=None):
            import values
            print("imported")
            path and open(path).read()
            return values.VALUE
    """)
    pipe = worker.folder / "pipe"
    os.mkfifo(pipe)
    claim = worker.submit("jobs:f", str(pipe))
    eventually(lambda: worker.printed() == "imported\n")
    worker.module("VALUE = 22", "values")
    worker.submit("jobs:f")
    pipe.write_text("")
    assert worker.ended(claim)[1]["result"] == "1"
    worker.wait_until_retired()
    assert worker.started() == [claim]
    assert new_worker().result("jobs:f") == 22


CHANGES = {
    "edited": lambda project: (project / "jobs.py").write_text("def f(): return 'new'"),
    "removed": lambda project: (project / "jobs.py").unlink(),
    "submodule": lambda project: (project / "package" / "part.py").write_text("VALUE = 'longer'"),
    "namespace": lambda project: (project / "package" / "__init__.py").write_text(""),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_runner_refuses_orders_once_a_module_has_changed_on_disk(worker: Worker, kind: str):
    package = worker.project / "package"
    package.mkdir()
    (package / "part.py").write_text("VALUE = 'old'")
    worker.module("from package import part\ndef f(): return part.VALUE")
    assert worker.result("jobs:f") == "old"
    CHANGES[kind](worker.project)
    worker.submit("json:loads", "1")
    worker.wait_until_retired()
    assert worker.started() == [1]


def test_link_to_another_release_with_files_of_the_same_time_and_size(worker: Worker, new_worker: Callable[[], Worker]):
    for name in ("1", "2"):
        (worker.folder / name).mkdir()
        path = worker.folder / name / "app.py"
        path.write_text(f"def f(): return {name}")
        os.utime(path, (0, 0))
    link = worker.folder / "current"
    link.symlink_to("1")
    assert worker.result("app:f", cwd=str(link)) == 1
    link.unlink()
    link.symlink_to("2")
    worker.submit("app:f", cwd=str(link))
    worker.wait_until_retired()
    assert new_worker().result("app:f", cwd=str(link)) == 2


def test_changes_of_an_import_are_kept_for_later_calls(worker: Worker):
    (worker.project / "vendored").mkdir()
    (worker.project / "vendored" / "late.py").write_text("VALUE = 7")
    worker.module("""
        import os, sys, warnings
        os.environ["SECRET"] = "s"
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "vendored"))
        sys.setrecursionlimit(5000)
        log = open(os.devnull)
        def f():
            return [os.environ["SECRET"], sys.getrecursionlimit()]
        def late():
            import late
            return late.VALUE
    """)
    for _ in range(2):
        assert worker.result("jobs:f") == ["s", 5000]
    assert worker.result("jobs:late", env='{"NEW": "n"}') == 7
    assert not worker.is_retired()


def test_changes_of_an_import_are_not_seen_in_another_folder(worker: Worker):
    worker.module("import os\nos.environ['SECRET'] = 's'\ndef f(): pass")
    worker.run("jobs:f")
    worker.submit("os:getenv", "SECRET", cwd="/")
    worker.wait_until_retired()
    assert worker.started() == [1]


def test_warning_is_shown_by_each_call(worker: Worker):
    worker.module("import warnings\ndef f(): warnings.warn('look')")
    assert ["look" in worker.run("jobs:f")["stderr"] for _ in range(2)] == [True, True]
