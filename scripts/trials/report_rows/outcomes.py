"""What people read about the end of a task, and its output."""

from __future__ import annotations

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
