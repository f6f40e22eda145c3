"""What the first commands of a new user do."""

from __future__ import annotations

from scripts.trials.report_rows import Sandbox, row


@row("launch without a supervisor", "starts one, reports it on stderr, prints only the ID on stdout", own=True)
def _(sandbox: Sandbox) -> None:
    done = sandbox.run("launch", "--", "true")
    assert done.returncode == 0, done
    assert "started a supervisor" in done.stderr, done.stderr
    assert sandbox.ended(done.stdout.strip())["status"] == "completed"


@row("a task of a key that is in use", "waits for its slot, and then runs")
def _(sandbox: Sandbox) -> None:
    sandbox.check("limit", "basics", "1")
    ids = [sandbox.launch("--key", "basics", "--", "echo", word) for word in ("one", "two")]
    assert [sandbox.ended(id)["result"] for id in ids] == ["one", "two"]
