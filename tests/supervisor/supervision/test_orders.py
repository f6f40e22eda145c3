from __future__ import annotations

import pytest

from backburner.ipc.errors import Temporary
from backburner.ipc.lines import MAX_LINE
from backburner.supervisor.supervision.orders import Orders


class Received:
    """The calls that orders and hints have led to."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.changes = 0
        self.executed: list[str] = []
        self.orders = Orders(lambda *groups: self.groups.extend(groups), self._note_change)

    def _note_change(self) -> None:
        self.changes += 1

    def execute(self) -> list[str]:
        self.orders.execute_all(self.executed.append)
        return self.executed


@pytest.fixture
def received() -> Received:
    return Received()


def test_group_hints_are_applied_immediately(received: Received):
    received.orders.receive(b'["opus", "sonnet"]\n')
    assert (received.groups, received.changes) == (["opus", "sonnet"], 0)


@pytest.mark.parametrize("line", [b"\n", b"anything\n", b"\xff\n"])
def test_unknown_line_counts_as_a_hint(received: Received, line: bytes):
    received.orders.receive(line)
    assert (received.changes, received.execute()) == (1, [])


def test_equal_lines_that_arrive_together_count_once(received: Received):
    received.orders.receive(b"reload\n\nreload\n\n")
    assert (received.changes, received.execute()) == (1, ["reload"])


def test_order_in_two_pieces_is_received_whole(received: Received):
    received.orders.receive(b"rest")
    received.orders.receive(b'art ["backburner", "up"]\nlimits\n')
    assert received.execute() == ['restart ["backburner", "up"]', "limits"]


def test_line_without_an_end_costs_no_memory_and_the_next_one_counts(received: Received):
    received.orders.receive(b"x" * (MAX_LINE + 1))
    received.orders.receive(b"reload\n")
    assert (received.changes, received.execute()) == (1, ["reload"])


def test_failed_order_is_retried_before_the_next_one(received: Received):
    def refuse(_order: str) -> None:
        raise Temporary("The disk is full.")

    received.orders.receive(b"reload\nlimits\n")
    with pytest.raises(Temporary):
        received.orders.execute_all(refuse)
    assert received.execute() == ["reload", "limits"]
    assert received.execute() == ["reload", "limits"]


def test_second_ctrl_c_shuts_down_at_once(received: Received):
    received.orders.down(is_shutting_down=False)
    received.orders.down(is_shutting_down=False)
    assert received.execute() == ["down", "down now"]


def test_ctrl_c_during_a_shutdown_shuts_down_at_once(received: Received):
    received.orders.down(is_shutting_down=True)
    assert received.execute() == ["down now"]
