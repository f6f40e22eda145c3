"""Lists of tasks on terminals, in pipes and over the socket."""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata

from scripts.trials.report_rows import Sandbox, row
from tests.supervisor.cli.terminal import Terminal


def on_terminal(sandbox: Sandbox, *words: str, columns: int, lines: int = 24, **variables: str) -> str:
    """Return what a command writes to a terminal of this size."""
    environment = sandbox.environment | {"NO_COLOR": "1", "PAGER": "cat"} | variables
    with Terminal(*words, variables=environment, cwd=sandbox.project, columns=columns, lines=lines) as terminal:
        assert terminal.end() == 0, terminal.plain
    return terminal.plain


def width(line: str) -> int:
    """Return the number of columns that a line takes."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


@row("list with a long key, a delay and names in other scripts", "fits 60, 80 and 200 columns, with whole names")
def _(sandbox: Sandbox) -> None:
    name = "Translate the manual 日本語 🎉"
    sandbox.launch("-k", "a-longer-key/with-model", "--delay", "2h", "-d", name, "--", "true")
    for columns in (60, 80, 200):
        lines = on_terminal(sandbox, "list", columns=columns).splitlines()
        assert max(map(width, lines)) <= columns, lines
        assert lines[0].split()[:2] == ["ID", "STATUS"]
        assert any(line.endswith(name) for line in lines), lines


@row("list into a pipe", "cuts nothing, and its first line is the header")
def _(sandbox: Sandbox) -> None:
    words = [f"word-{number}" for number in range(100)]
    id = sandbox.launch("--delay", "2h", "--", "echo", *words)
    lines = sandbox.check("list").splitlines()
    assert lines[0].split()[:2] == ["ID", "STATUS"]
    assert next(line for line in lines if line.startswith(id[3:11])).endswith(" ".join(words))


@row("list of running, waiting and ended tasks", "running first, then the next to start, then the last that ended")
def _(sandbox: Sandbox) -> None:
    launch = ("-k", "row-order", "--agent", "external")
    sandbox.check("limit", "row-order", "1")
    running, low, high = (sandbox.launch("--priority", rank, *launch, "do it") for rank in ("2", "0", "1"))
    failed = sandbox.launch("-k", "row-order-2", "--", "false")
    sandbox.ended(failed)
    shown = sandbox.check("list", "-q").split()
    assert [id for id in shown if id in (running, low, high, failed)] == [running, high, low, failed]
    newest = [task["id"] for task in json.loads(sandbox.check("list", "--json"))]
    assert [id for id in newest if id in shown[:3]] != [] and newest[0] == failed
    sandbox.check("cancel", running, low, high)


@row("list --watch in a small terminal", "fits, uses the alternate screen, and keeps the scrollback")
def _(sandbox: Sandbox) -> None:
    for _ in range(6):
        sandbox.launch("--delay", "2h", "--", "true")
    environment = sandbox.environment | {"NO_COLOR": "1"}
    with Terminal("list", "--watch", variables=environment, cwd=sandbox.project, columns=60, lines=8) as terminal:
        terminal.see(r"updated at \d\d:\d\d:\d\d")
        terminal.see(r"\d+ more")
        terminal.press(b"q")
        assert terminal.end() == 0
    assert terminal.text.startswith("\x1b[?1049h") and terminal.text.endswith("\x1b[?1049l"), terminal.text
    assert "\x1b[3J" not in terminal.text
    assert terminal.plain.split(" more")[0].count("\n") == 7


@row("list --watch | cat", "prints JSON into a pipe, as its help says")
def _(sandbox: Sandbox) -> None:
    words = sandbox.command("list", "--watch")
    with subprocess.Popen(words, env=sandbox.environment, cwd=sandbox.project, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    assert isinstance(json.loads(line), list)
    assert "JSON array" in " ".join(sandbox.check("list", "--help").split())


@row("a long list on a terminal", "is shown by the pager, unless --no-pager is given")
def _(sandbox: Sandbox) -> None:
    pager = f"cat >{sandbox.project / 'paged'}"
    on_terminal(sandbox, "list", columns=80, lines=3, PAGER=pager)
    assert (sandbox.project / "paged").read_text().startswith("ID ")
    assert "STATUS" in on_terminal(sandbox, "list", "--no-pager", columns=80, lines=3, PAGER=pager)


@row("list, column TASK of an agent's task", "shows the first line of the prompt")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--agent", "external", "check me\nand more")
    line = next(line for line in sandbox.check("list").splitlines() if line.startswith(id[3:11]))
    assert line.endswith("  check me"), line
    sandbox.check("cancel", id)


@row("list, column NOTE of tasks that failed", "names the cause in words, and the attempt")
def _(sandbox: Sandbox) -> None:
    missing = sandbox.launch("--", "no-such-command")
    killed = sandbox.launch("--", "sh", "-c", "kill -SEGV $$")
    again = sandbox.launch("--retries", "1", "--", "sh", "-c", "exit 7")
    for id in (missing, killed, again):
        sandbox.ended(id)
    lines = {line[:8]: line for line in sandbox.check("list", "--status", "failed").splitlines()}
    assert "command not found" in lines[missing[3:11]]
    assert "killed by SIGSEGV" in lines[killed[3:11]]
    assert re.search(r" 2/2 .*exit code 7", lines[again[3:11]])


@row("list --status failed, done, and a,b", "are taken; a wrong word is refused with the right ones")
def _(sandbox: Sandbox) -> None:
    failed, done = sandbox.launch("--", "false"), sandbox.launch("--", "true")
    sandbox.ended(failed)
    sandbox.ended(done)
    assert failed in (found := sandbox.check("list", "-q", "--status", "failed").split()) and done not in found
    assert {failed, done} <= set(sandbox.check("list", "-q", "--status", "done").split())
    assert {failed, done} <= set(sandbox.check("list", "-q", "--status", "completed,failed").split())
    refused = sandbox.run("list", "--status", "finished")
    assert refused.returncode == 2 and "completed" in refused.stderr, refused


@row("list with filters, sorted, with chosen columns", "prints exactly those")
def _(sandbox: Sandbox) -> None:
    words = ("-k", "row-filter", "--delay", "2h", "--tag", "row/filter")
    ids = [sandbox.launch(*words, "--priority", str(rank), "--", "echo", f"filter-{rank}") for rank in (1, 2)]
    assert sandbox.check("list", "-q", "-k", "row-filter", "--sort", "-priority").split() == ids[::-1]
    assert sandbox.check("list", "-q", "--text", "FILTER-1", "--since", "1h").split() == ids[:1]
    assert sandbox.check("list", "--tag", "row/filter", "--sort", "task", "-n", "1", "--columns", "task,model") == (
        "TASK           MODEL\necho filter-1\n"
    )
    assert sandbox.check("list", "-q", "-k", "row-filter", "--since", "2999-01-01") == ""


@row("list over the socket with filters", "takes a list of statuses, a key, an agent, text and a time")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("-k", "row-socket", "--delay", "2h", "--", "echo", "socket")
    request = {"status": ["pending", "running"], "concurrencyKey": "row-socket", "agent": "command", "text": "SOCK"}
    with sandbox.connect() as client:
        found = client.call("list", **request, since="2000-01-01T00:00:00Z")
        later = client.call("list", **request, since="2999-01-01T00:00:00Z")
    assert [task["id"] for task in found["tasks"]] == [id]
    assert later["tasks"] == []


@row("times of list, status and show", "are in the local time zone")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--delay", "2h", "--", "true")
    queued = sandbox.task(id)["queuedAt"]
    hour = (int(queued[11:13]) + 5) % 24
    local = f"{hour:02}{queued[13:19]}"
    for words in (("list",), ("show", id)):
        done = subprocess.run(
            sandbox.command(*words),
            env=sandbox.environment | {"TZ": "TST-5"},
            cwd=sandbox.project,
            capture_output=True,
            text=True,
            check=True,
        )
        assert local in done.stdout, (local, done.stdout)
    assert not re.search(r"\dZ", sandbox.check("status"))


@row("status without agents", "hides limits that come with the program and are not used")
def _(sandbox: Sandbox) -> None:
    shown = sandbox.check("status")
    assert not any(model in shown for model in ("haiku", "opus", "sonnet")), shown
    assert {"haiku", "opus"} <= {key["key"] for key in json.loads(sandbox.check("status", "--json"))["keys"]}
