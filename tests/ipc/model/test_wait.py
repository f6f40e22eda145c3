"""Waits for the ends of tasks."""

from __future__ import annotations

from backburner.ipc.model.wait import Wait


def test_wait_for_all_is_over_when_the_last_task_has_ended():
    wait = Wait(["a", "b", "a"])
    assert wait.record_ends(["b"])
    assert (wait.is_over, wait.ended) == (False, ["b"])
    assert wait.record_ends(["a"])
    assert (wait.is_over, wait.ended) == (True, ["a", "b"])


def test_wait_for_any_is_over_when_one_task_has_ended():
    wait = Wait(["a", "b"], any=True)
    assert not wait.is_over
    wait.record_ends(["b"])
    assert (wait.is_over, wait.ended) == (True, ["b"])


def test_wait_starts_with_the_unfinished_tasks():
    assert Wait(["a", "b"], unfinished=["b"]).ended == ["a"]
    assert Wait(["a", "b"], unfinished=["b"], any=True).is_over


def test_wait_for_no_task_is_over():
    assert Wait([]).is_over
    assert Wait([], any=True).is_over


def test_end_of_another_task_is_not_recorded():
    wait = Wait(["a"])
    assert not wait.record_ends(["b"])
    wait.record_ends(["a"])
    assert not wait.record_ends(["a"])
