"""What people read about the end of a task, and its output."""

from __future__ import annotations

import json

from scripts.trials.report_rows import Sandbox, row


def _fail_once(name: str) -> str:
    """Return a shell line that fails until it has run once."""
    return f'echo {name} >> order; test -e "{name}.ran" || {{ touch "{name}.ran"; exit 1; }}'


@row("retry of a task whose dependency has failed", "it does not run before its dependency has completed")
def _(sandbox: Sandbox) -> None:
    first = sandbox.launch("--", "false")
    second = sandbox.launch("--after", first, "--", "touch", "deployed")
    sandbox.run("wait", first, second)
    sandbox.check("retry", second)
    sandbox.run("wait", second)
    assert sandbox.task(second)["errorKind"] == "dependency"
    assert not (sandbox.project / "deployed").exists()


@row("retry of a chain, its end first", "the tasks run in the order of the chain")
def _(sandbox: Sandbox) -> None:
    ids: list[str] = []
    for name in "abc":
        after = ["--after", ids[-1]] if ids else []
        ids.append(
            sandbox.launch(*after, "--", "sh", "-c", _fail_once(name) if name == "a" else f"echo {name} >> order")
        )
    assert [sandbox.ended(id)["errorKind"] for id in ids] == ["exit", "dependency", "dependency"]
    sandbox.check("retry", *reversed(ids))
    sandbox.check("wait", *ids)
    assert (sandbox.project / "order").read_text().split() == ["a", "a", "b", "c"]


@row("a failure whose last line is a progress bar with colours", "the cause is what a terminal shows at the end")
def _(sandbox: Sandbox) -> None:
    line = r"printf 'copy 10%%\rcopy 60%%\r\033[K\033[31mcp: no space\033[0m\007\n' >&2; exit 1"
    task = sandbox.ended(sandbox.launch("--", "sh", "-c", line))
    assert task["error"] == "exit code 1: cp: no space", task["error"]


@row("a failure that is reported on stdout alone", "its last line is the cause")
def _(sandbox: Sandbox) -> None:
    task = sandbox.ended(sandbox.launch("--", "sh", "-c", "echo 2 tests failed; exit 1"))
    assert task["error"] == "exit code 1: 2 tests failed", task["error"]


@row("output of a failed command that wrote to stderr alone", "stderr is printed on stderr, stdout stays empty")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--", "sh", "-c", "echo no rule >&2; exit 2")
    sandbox.ended(id)
    done = sandbox.run("output", id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no rule\n"), done
    assert sandbox.check("output", "--stderr", id) == "no rule\n"


@row("output of two tasks, of their last lines, of failed ones", "the ID comes before each line")
def _(sandbox: Sandbox) -> None:
    ids = [sandbox.launch("--", "sh", "-c", f"seq 3; exit {code}") for code in (0, 1)]
    for id in ids:
        sandbox.ended(id)
    lines = [f"{id[3:11]} | 3" for id in ids]
    assert sandbox.check("output", "-n", "1", *ids).splitlines() == lines
    assert sandbox.check("output", "-f", "-n", "1", *ids).splitlines() == lines
    assert sandbox.check("output", "--failed", *ids) == "1\n2\n3\n"


@row("a followed task that opens /dev/stdout with >", "the cut is reported, and the follower continues")
def _(sandbox: Sandbox) -> None:
    line = "echo one; sleep 0.5; echo TWO > /dev/stdout; sleep 0.5; echo three"
    done = sandbox.run("run", "--", "sh", "-c", line)
    assert done.stdout.splitlines() == ["one", "TWO", "three"], done
    assert "has cut its stdout" in done.stderr, done


_AGENTS = r"""
[agents.teller]
command = ["sh", "-c", "{prompt}"]
result = "jsonl:result"
failed_if = ["jsonl:error[type=turn.failed]"]
error = ["jsonl:error[type=turn.failed]"]

[agents.endless]
command = ["sh", "-c", "printf '%060d' 0 | tr 0 a; echo b"]
failed_if = ["stdout~(a+)+$"]
"""


def _agents(sandbox: Sandbox) -> Sandbox:
    sandbox.user_settings.parent.mkdir(parents=True, exist_ok=True)
    sandbox.user_settings.write_text(_AGENTS)
    return sandbox.up()


def _answered(sandbox: Sandbox, script: str) -> dict[str, object]:
    return sandbox.ended(sandbox.launch("--agent", "teller", script))


@row("U+2028 in a line of JSON, noise before it, an answer after 20 MiB", "the rules find the value", own=True)
def _(sandbox: Sandbox) -> None:
    _agents(sandbox)
    failed = _answered(sandbox, r"""printf '{"result": "x"}\n{"type": "turn.failed", "error": "a\342\200\250b"}\n'""")
    assert failed["errorKind"] == "failed", failed
    noisy = _answered(sandbox, r"""printf '\033[0m{"result": "found"}\n'""")
    assert noisy["result"] == "found", noisy
    large = _answered(sandbox, r"""head -c 20000000 /dev/zero | tr '\0' x; printf '\n{"result": "late"}\n'""")
    assert large["result"] == "late", large["error"]


@row(
    "a regular expression that takes exponential time", "the attempt fails, and the worker runs the next task", own=True
)
def _(sandbox: Sandbox) -> None:
    _agents(sandbox)
    slow = sandbox.launch("--agent", "endless", "--key", "one", "x")
    following = sandbox.launch("--key", "one", "--", "true")
    assert sandbox.ended(following)["status"] == "completed"
    task = sandbox.ended(slow)
    assert task["errorKind"] == "failed" and "took longer" in str(task["error"]), task


@row("show of a failed task with 64 KiB of output", "a page with the cause, local times and the last lines")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--", "sh", "-c", "yes | head -c 64000; echo no rule >&2; exit 2")
    sandbox.ended(id)
    page = sandbox.check("show", id).splitlines()
    assert len(page) <= 24, len(page)
    assert any(line.startswith("error") and "exit code 2: no rule" in line for line in page), page
    assert not any("Z" in line for line in page if line.startswith(("queued", "ended"))), page
    assert page[-1] == "  no rule", page
    assert len([line for line in sandbox.check("show", id, id).splitlines() if line.startswith("id ")]) == 2


@row("commands that are missing, crash, or take too long", "the causes are named in words")
def _(sandbox: Sandbox) -> None:
    missing = sandbox.ended(sandbox.launch("--", "no-such-command"))
    assert "command not found" in missing["error"] and "PATH" in missing["error"], missing
    crashed = sandbox.launch("--", "sh", "-c", "kill -SEGV $$")
    sandbox.ended(crashed)
    assert "killed by SIGSEGV" in sandbox.check("show", crashed)
    slow = sandbox.ended(sandbox.launch("--timeout", "1s", "--", "sleep", "60"))
    assert slow["error"] == "It ran longer than 1 s.", slow


@row(
    "a file with a byte order mark, and a task after one further down",
    "accepted in one transaction; a circle is refused",
)
def _(sandbox: Sandbox) -> None:
    first, second = (f"bg-{digit * 8}-0000-4000-8000-000000000000" for digit in "12")
    lines = [{"id": second, "command": ["true"], "after": [first]}, {"id": first, "command": ["true"]}]
    file = sandbox.project / "tasks.ndjson"
    file.write_bytes(b"\xef\xbb\xbf" + b"\n".join(json.dumps(line).encode() for line in lines))
    assert sandbox.check("launch", "--from-file", str(file)).split() == [second, first]
    assert [sandbox.ended(id)["status"] for id in (first, second)] == ["completed"] * 2
    third, fourth = (f"bg-{digit * 8}-0000-4000-8000-000000000000" for digit in "34")
    lines = [
        {"id": third, "command": ["true"], "after": [fourth]},
        {"id": fourth, "command": ["true"], "after": [third]},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    done = sandbox.run("launch", "--from-file", str(file))
    assert done.returncode == 2 and third in done.stderr and fourth in done.stderr, done


@row("a configuration file with a byte order mark", "it counts", own=True)
def _(sandbox: Sandbox) -> None:
    (sandbox.project / "backburner.toml").write_bytes(b"\xef\xbb\xbf[model_concurrency]\nmarked = 7\n")
    sandbox.check("config", "check")
    assert "marked = 7" in sandbox.check("config", "show")


@row("scripts without a first line, with line ends of Windows, without their interpreter", "run by sh; or named")
def _(sandbox: Sandbox) -> None:
    for name, text in (("plain", "echo $1; exit 3\n"), ("windows", "#!/bin/sh\r\n"), ("missing", "#!/no/such\n")):
        (sandbox.project / name).write_text(text)
        (sandbox.project / name).chmod(0o755)
    assert sandbox.ended(sandbox.launch("--", "./plain", "said"))["error"] == "exit code 3: said"
    for name in ("windows", "missing"):
        task = sandbox.ended(sandbox.launch("--", f"./{name}"))
        assert task["exitCode"] == 127 and "interpreter" in task["error"], task


@row("--stdin with a named pipe, /dev/stdin or <(command)", "the task reads what was written")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("echo one | backburner run --stdin /dev/stdin -- cat")
    assert (done.returncode, done.stdout) == (0, "one\n"), done
    done = sandbox.shell("mkfifo pipe; echo two > pipe & backburner run --stdin pipe -- cat")
    assert (done.returncode, done.stdout) == (0, "two\n"), done


_JOBS = """
import multiprocessing, os, signal, sys

def exits(): sys.exit(0)

async def awaited(): return 5

def breaks_a_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        os.write(writer, b"x")
    except OSError:
        return "handled"

def forks():
    if os.fork() == 0:
        return "child"
    os.wait()
    return "parent"

def spawns():
    process = multiprocessing.get_context("spawn").Process(target=len, args=("",))
    process.start()
    process.join()
    return process.exitcode

def changes():
    signal.alarm(1)
    os.umask(0o077)
    sys.path.pop(0)
    sys.stdout.close()

def state():
    print("printed")
    mask = os.umask(0o022)
    os.umask(mask)
    return [signal.getitimer(signal.ITIMER_REAL)[0], oct(mask)]

def line(): return sys.stdin.readline()
"""


def _called(sandbox: Sandbox, name: str, *more: str) -> dict[str, object]:
    return sandbox.ended(sandbox.launch("--key", "calls", *more, "--call", f"jobs:{name}"))


@row("functions that fork, exit, spawn, or write into a closed pipe, in one process", "each has its own result")
def _(sandbox: Sandbox) -> None:
    (sandbox.project / "jobs.py").write_text(_JOBS)
    wanted = {"exits": "null", "awaited": "5", "breaks_a_pipe": '"handled"', "forks": '"parent"', "spawns": "0"}
    ids = {sandbox.launch("--key", "calls", "--call", f"jobs:{name}"): name for name in [*wanted, "forks", "spawns"]}
    for id, name in ids.items():
        task = sandbox.ended(id)
        assert (task["status"], task["result"]) == ("completed", wanted[name]), task


@row("a function that changes its process, and one that reads a line of its stdin", "the next call does not notice")
def _(sandbox: Sandbox) -> None:
    (sandbox.project / "jobs.py").write_text(_JOBS)
    before = _called(sandbox, "state")
    assert _called(sandbox, "changes")["status"] == "completed"
    after = _called(sandbox, "state")
    assert (after["status"], after["result"]) == ("completed", before["result"]), after
    assert sandbox.check("output", str(after["id"])) == "printed\n"
    for name, text in (("one", "a\nb\nc\n"), ("two", "d\n")):
        (sandbox.project / name).write_text(text)
    lines = [_called(sandbox, "line", *more)["result"] for more in (["--stdin", "one"], ["--stdin", "two"], [])]
    assert lines == ['"a\\n"', '"d\\n"', '""'], lines


@row("a task that leaves processes behind", "list and show count them, and name leave_children")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--", "sh", "-c", "sleep 300 & sleep 300 & echo done")
    sandbox.ended(id)
    for words in (("list", "--limit", "1"), ("show", id)):
        text = sandbox.check(*words)
        assert "2 processes it left behind were ended" in text and "leave_children" in text, text
    kept = sandbox.launch("--leave-children", "--", "sh", "-c", "sleep 1 & echo done")
    assert sandbox.ended(kept)["leftovers"] == 0
