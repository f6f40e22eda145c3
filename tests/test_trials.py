"""The checks of the trials in scripts/trials: sound evidence passes, and each flaw is reported by its own check."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.trials import bounds, mutations, trial_task
from scripts.trials.chaos import bugs
from scripts.trials.crash import matrix, scene_run, unreachable
from scripts.trials.kill_checks import Evidence, violations
from scripts.trials.power_loss import trial as power_loss
from scripts.trials.trial_home import Delivered, Line, read_lines
from tests.helpers.invariants import BATCH_SENT, BATCH_STORED, ENDED, STARTED
from tests.helpers.journals import Tail
from tests.helpers.places import ROOT, checkout_only
from tests.helpers.processes import Process

Edit = Callable[[Evidence], object]


def lines(*texts: str) -> list[Line]:
    return [Line.parse(text) for text in texts]


def start(id: str, claim: int, attempt: int = 1, key: str = "single") -> Line:
    return Line("start", 0.0, (id, str(claim), str(attempt), "4711", key))


def end(id: str, claim: int, attempt: int = 1, key: str = "single") -> Line:
    return start(id, claim, attempt, key)._replace(word="end")


def task(**more: object) -> dict[str, object]:
    plain = {"status": "completed", "attempt": 1, "interruptions": 0, "claim": 1, "result": "bg-1 1", "error": None}
    return {**plain, "error_kind": None, "completed_at": 1, "owner": None, "held": None, **more}


def event(seq: int, type: str, **more: object) -> dict[str, object]:
    return {"seq": seq, "type": type, "parentSessionId": "ses-1", **more}


def sound() -> Evidence:
    """Evidence of one task that was launched, started, completed and reported."""
    evidence = Evidence(
        lines=[*lines("launched 0 bg-1 0 0"), start("bg-1", 1), end("bg-1", 1)],
        tasks={"bg-1": task()},
        events=[
            event(1, STARTED, taskId="bg-1"),
            event(2, ENDED, taskId="bg-1", status="completed"),
            event(3, BATCH_STORED, taskIds=["bg-1"], count=1),
        ],
        delivered=[Delivered(0, 1, STARTED, "bg-1"), Delivered(0, 2, ENDED, "bg-1"), Delivered(0, 3, BATCH_SENT, None)],
        outputs={"bg-1": "bg-1 1\n"},
    )
    evidence.kills["worker"] = 100
    return evidence


def give_verdict(evidence: Evidence, verb: str, at: float = 0.0, status: str = "completed") -> None:
    """Acknowledge a verdict before the task's first line."""
    evidence.lines.insert(1, Line(verb, at, ("bg-1",)))
    evidence.tasks["bg-1"]["status"] = status


def reported(evidence: Evidence) -> set[str]:
    return {text.partition(":")[0] for text in violations(evidence)}


def test_sound_evidence_has_no_violation():
    assert list(violations(sound())) == []


FLAWS: dict[str, tuple[str, Edit]] = {
    "a task is missing": ("accepted", lambda e: e.lines.extend(lines("launched 0 bg-2 0 0"))),
    "a task was never accepted": ("accepted", lambda e: e.tasks.update({"bg-2": task(result="bg-2 1")})),
    "a task has not ended": ("accepted", lambda e: e.tasks["bg-1"].update(status="running")),
    "a second start without retries": ("starts", lambda e: e.lines.append(start("bg-1", 2, 2))),
    "a claim started twice": ("claims", lambda e: e.lines.append(start("bg-2", 1))),
    "an attempt started twice": ("claims", lambda e: e.lines.append(start("bg-1", 2))),
    "an end logged twice": ("lives", lambda e: e.events.append({**e.events[1], "seq": 4})),
    "an end in no batch": ("batches", lambda e: e.events.pop()),
    "an event never delivered": ("delivery", lambda e: e.delivered.pop(0)),
    "an event delivered twice": ("delivery", lambda e: e.delivered.insert(1, e.delivered[0])),
    "events delivered out of order": ("delivery", lambda e: e.delivered.reverse()),
    "an end delivered under two numbers": ("delivery", lambda e: e.delivered.append(Delivered(0, 4, ENDED, "bg-1"))),
    "an attempt without a started event": ("attempts", lambda e: e.tasks["bg-1"].update(attempt=2)),
    "completed without a last line": ("outcomes", lambda e: e.lines.pop()),
    "the result of another claim": ("outcomes", lambda e: e.tasks["bg-1"].update(result="bg-1 9")),
    "an error that no kill explains": ("outcomes", lambda e: e.tasks["bg-1"].update(status="error", error_kind="exit")),
    "the output of another task": ("outputs", lambda e: e.outputs.update({"bg-1": "bg-2 1\n"})),
    "an output with one line too many": ("outputs", lambda e: e.outputs.update({"bg-1": "bg-1 0\nbg-1 1\n"})),
    "the error of another task": ("texts", lambda e: e.tasks["bg-1"].update(error="bg-2 failed")),
    "a cancelled task that completed": ("verdicts", lambda e: e.lines.extend(lines("cancel 0 bg-1"))),
    "a start after a cancel": ("verdicts", lambda e: give_verdict(e, "cancel", status="cancelled")),
    "a start long after a verdict": ("verdicts", lambda e: give_verdict(e, "complete", at=-60.0)),
    "a second start after a verdict": (
        "verdicts",
        lambda e: (give_verdict(e, "complete"), e.lines.append(start("bg-1", 2, 2))),
    ),
    "a start while paused": ("pauses", lambda e: e.lines.insert(0, Line("paused", 0.0, ("single",)))),
    "too many lost tasks": ("lost", lambda e: e.tasks["bg-1"].update(status="error", error_kind="lost")),
    "a held task": ("accepted", lambda e: e.tasks["bg-1"].update(held=7)),
    "a process that is left": ("remains", lambda e: e.remaining.append(Process(4711, 1, "S", "sh", {}))),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_kill_trial_reports_each_violation(flaw: str):
    check, edit = FLAWS[flaw]
    evidence = sound()
    edit(evidence)
    assert check in reported(evidence)


def test_granted_retry_may_start_again():
    evidence = sound()
    evidence.lines[0] = Line("launched", 0.0, ("bg-1", "1", "0"))
    evidence.lines += [start("bg-1", 2, 2), end("bg-1", 2, 2)]
    assert "starts" not in reported(evidence)


def test_task_may_be_starting_while_its_verdict_is_stored():
    evidence = sound()
    give_verdict(evidence, "complete")
    assert "verdicts" not in reported(evidence)


def limit_violations(*texts: Line) -> set[str]:
    evidence = sound()
    evidence.lines += texts
    return reported(evidence) & {"limits"}


def test_limit_check_reports_tasks_that_overlap():
    assert limit_violations(start("bg-2", 2), start("bg-3", 3), end("bg-2", 2), end("bg-3", 3)) == {"limits"}


def test_limit_check_accepts_tasks_that_follow_each_other():
    assert limit_violations(start("bg-2", 2), end("bg-2", 2), start("bg-3", 3), end("bg-3", 3)) == set()


def test_limit_check_accepts_what_a_raised_limit_allows():
    [raised] = lines("limit 0 single 2")
    assert limit_violations(raised, start("bg-2", 2), start("bg-3", 3), end("bg-2", 2), end("bg-3", 3)) == set()


def test_limit_check_accepts_the_surplus_when_a_limit_is_lowered():
    raised, lowered = lines("limit 0 single 2", "limit 0 single 1")
    assert (
        limit_violations(raised, start("bg-2", 2), start("bg-3", 3), lowered, end("bg-2", 2), end("bg-3", 3)) == set()
    )


def test_limit_check_counts_processes_that_live_on_without_a_last_line():
    scan, alive = lines("scan 0 1", "alive 0 2:single")
    assert limit_violations(start("bg-2", 2), start("bg-3", 3), scan, end("bg-3", 3), alive) == {"limits"}


def test_limit_check_ignores_killed_tasks_that_were_not_seen_again():
    assert limit_violations(start("bg-2", 2), start("bg-3", 3), end("bg-3", 3)) == set()


def test_command_and_call_write_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    marks = {"BACKBURNER_TASK_ID": "bg-1", "BACKBURNER_CLAIM": "7", "BACKBURNER_ATTEMPT": "2", "TRIAL_KEY": "single"}
    for name, value in marks.items():
        monkeypatch.setenv(name, value)
    by_command, by_call = tmp_path / "command", tmp_path / "call"
    printed = subprocess.run(trial_task.command(by_command), capture_output=True, text=True, check=True).stdout
    assert trial_task.call(str(by_call)) == printed.strip() == "bg-1 7"
    written = [[(line.word, line.id, line.claim, line.attempt, line.key) for line in read(by_command)]]
    written += [[(line.word, line.id, line.claim, line.attempt, line.key) for line in read(by_call)]]
    assert written == [[("start", "bg-1", 7, 2, "single"), ("end", "bg-1", 7, 2, "single")]] * 2


def read(journal: Path) -> list[Line]:
    return read_lines(Tail(journal))


def test_tail_leaves_a_line_that_is_not_finished(tmp_path: Path):
    journal = tmp_path / "journal"
    tail = Tail(journal)
    journal.write_text("scan 0 1\nscan 0")
    assert [line.words for line in read_lines(tail)] == [("1",)]
    with journal.open("a") as file:
        file.write(" 2\n")
    assert [line.words for line in read_lines(tail)] == [("2",)]


@pytest.mark.parametrize(
    ("samples", "within"), [([1.0] * 19 + [200.0], False), ([1.0] * 99 + [200.0], True), ([], False)]
)
def test_bound_holds_at_its_quantile(samples: list[float], within: bool):
    assert bounds.Result(samples, 100.0).is_within is within


def test_starts_while_another_task_runs_are_found():
    texts = [start("bg-2", 2), start("bg-3", 3)._replace(at=5.0), end("bg-2", 2), end("bg-3", 3), start("bg-4", 4)]
    assert list(bounds._crowded(texts)) == [5.0]


#: The fragments of the source that a trial replaces to inject a bug, by the name of the bug.
FRAGMENTS = {
    **{f"chaos, {name}": [edit[:2] for edit in edits] for name, edits in bugs.PATCHES.items()},
    **{f"power-loss, {name}": [edit[:2]] for name, edit in power_loss.BUGS.items()},
    "power-loss, boot id": [power_loss.BOOT_ID],
    **{f"mutations, {row.name}": [edit[:2] for edit in row.edits] for row in mutations.rows()},
}


@checkout_only
@pytest.mark.parametrize("bug", FRAGMENTS)
def test_source_has_each_fragment_of_an_injected_bug_once(bug: str):
    counts = {(file, fragment): (ROOT / file).read_text().count(fragment) for file, fragment in FRAGMENTS[bug]}
    assert [place for place, count in counts.items() if count != 1] == []


@pytest.mark.parametrize("row", mutations.rows(), ids=lambda row: row.name)
def test_mutation_names_tests_that_exist(row: mutations.Row):
    tests = (mutations.path_of(test).split("::") for test in row.tests)
    assert [name for file, name in tests if f"def {name}(" not in (ROOT / file).read_text()] == []


#: Edges at which the crash matrix expects no lost task: a failpoint and, perhaps, the function around it.
HARMLESS = [edge.split()[1].rstrip("*").split("@") for edge in scene_run.HARMLESS]


@checkout_only
def test_crash_matrix_names_failpoints_that_exist():
    assert {*unreachable.UNREACHABLE, *(failpoint for failpoint, _ in HARMLESS)} - matrix.failpoints() == set()


@checkout_only
def test_crash_matrix_names_functions_that_exist():
    trees = [ast.parse(path.read_text()) for folder in ("ipc", "supervisor") for path in (ROOT / folder).rglob("*.py")]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    methods = {f"{one.name}.{node.name}" for one in classes for node in one.body if isinstance(node, ast.FunctionDef)}
    assert {function for _, function in HARMLESS if function} - methods == set()
