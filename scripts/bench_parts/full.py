"""Calls with durability = full, beside a queue that syncs each end, too, and beside the synced bare loop."""

from __future__ import annotations

from scripts.bench_parts.calls import BareLoop
from scripts.bench_parts.commands import Ours
from scripts.bench_parts.harness import Contestant, Goal, Section, Size
from scripts.bench_parts.peers.contestant import Peer
from scripts.bench_parts.peers.specs import HUEY

MANY = 16


def contestants(size: Size) -> list[Contestant]:
    """Return backburner with two and with sixteen slots, and the others."""
    count, call = size.pick(2000, 400), {"call": "noop:noop"}
    many = {"default_concurrency": MANY, "max_workers": MANY}
    found: list[Contestant] = [
        Ours("ours, 2", count, call, durability="full"),
        Ours(f"ours, {MANY}", count, call, durability="full", **many),
        BareLoop(count, "FULL", MANY),
    ]
    return [*found, Peer(HUEY, count)] if size.peers else found


SECTION = Section(
    "full",
    "Python callables with durability = full, launched in bulk while drained, all ends delivered, tasks/s",
    contestants,
    (
        Goal("calls in full against SqliteHuey", "ours, 2/rate", 2.0, ("SqliteHuey/rate",)),
        Goal("calls in full, 16 slots, against the synced bare loop", f"ours, {MANY}/rate", 1.2, ("bare loop/rate",)),
    ),
)
