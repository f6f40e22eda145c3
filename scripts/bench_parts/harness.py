"""The measurement of a section: its contestants take turns in each round, and ratios are taken within a round."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

Figures = dict[str, float]


class Absent(Exception):
    """A contestant is not available on this machine."""


class Contestant(ABC):
    """A system under measurement. A round gives figures by name; goals refer to them as `contestant/figure`."""

    def __init__(self, name: str, settings: str = "") -> None:
        """`settings` are the version and the settings, to be printed."""
        self.name = name
        self.settings = settings

    @abstractmethod
    def open(self) -> None:
        """Start what it needs. Raises Absent."""

    @abstractmethod
    def round(self, number: int) -> Figures:
        """Measure once."""

    @abstractmethod
    def close(self) -> None:
        """End everything that was started."""


class Spread(NamedTuple):
    """The least, the median and the greatest value of some rounds."""

    least: float
    middle: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise values. Raises ValueError if there are none."""
        return cls(min(values), median(values), max(values))


@dataclass(frozen=True)
class Goal:
    """A bound for the ratio of a figure to the sum or the best of others, or for the figure itself."""

    what: str
    ours: str
    bound: float
    against: tuple[str, ...] = ()
    at_least: bool = True
    #: A value of the figure that is sufficient whatever the ratio.
    enough: float | None = None
    #: How the others are joined: their `sum`, or the best of them by `max` or `min`.
    joined: Callable[[list[float]], float] = sum

    def words(self) -> str:
        """Return the bound as text."""
        sign, unit = (">=" if self.at_least else "<="), ("x" if self.against else "")
        enough = "" if self.enough is None else f" or {sign} {self.enough:g}"
        return f"{sign} {self.bound:g}{unit}{enough}"

    def met(self, ratio: float, ours: float) -> bool:
        """Return True if the bound holds, or the figure is sufficient."""
        return self._holds(ratio, self.bound) or (self.enough is not None and self._holds(ours, self.enough))

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound


@dataclass(frozen=True)
class Size:
    """How much is measured: everything, or a part that takes two minutes."""

    quick: bool
    rounds: int
    peers: bool

    @property
    def seconds(self) -> float:
        """Return the seconds after which a section begins no more rounds."""
        return 10.0 if self.quick else 1200.0

    def pick(self, whole: int, quick: int) -> int:
        """Return the first number, or the second one in the quick form."""
        return quick if self.quick else whole


@dataclass(frozen=True)
class Section:
    """Contestants that are measured together. A module of this folder has one, named SECTION."""

    name: str
    title: str
    contestants: Callable[[Size], list[Contestant]]
    goals: tuple[Goal, ...] = ()
    #: One long round is enough.
    once: bool = False


@dataclass
class Measured:
    """The figures of a section, by contestant and round."""

    section: Section
    figures: dict[str, list[float]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, contestant: Contestant, figures: Figures) -> None:
        """Add a round of a contestant."""
        for name, value in figures.items():
            self.figures.setdefault(f"{contestant.name}/{name}", []).append(value)

    def verdicts(self) -> Iterator[Verdict]:
        """Yield a verdict on each goal whose figures were measured."""
        for goal in self.section.goals:
            others = [self.figures[name] for name in goal.against if name in self.figures]
            if goal.ours not in self.figures or (goal.against and not others):
                continue
            ours = self.figures[goal.ours]
            joined = [goal.joined(list(values)) for values in zip(*others, strict=False)] or [1.0] * len(ours)
            ratios = [mine / theirs for mine, theirs in zip(ours, joined, strict=False)]
            yield Verdict(goal, Spread.of(ours), Spread.of(joined) if others else None, Spread.of(ratios))

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        verdicts = [verdict.to_json() for verdict in self.verdicts()]
        names = ("figures", "settings", "absent")
        return {"section": self.section.name, "goals": verdicts, **{name: getattr(self, name) for name in names}}


class Verdict(NamedTuple):
    """A goal with the values that were measured for it."""

    goal: Goal
    ours: Spread
    against: Spread | None
    ratio: Spread

    @property
    def met(self) -> bool:
        """Return True if the goal is met by the median of the rounds."""
        return self.goal.met(self.ratio.middle, self.ours.middle)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON."""
        return {"what": self.goal.what, "ratio": self.ratio, "goal": self.goal.words(), "met": self.met}


def measure(section: Section, size: Size) -> Measured:
    """Open all contestants, give each its rounds in turns, close all. Absent ones are left out."""
    measured = Measured(section)
    with ExitStack() as stack:
        present = [one for one in section.contestants(size) if _opened(one, stack, measured)]
        until = time.monotonic() + size.seconds
        for number in range(1 if section.once else size.rounds):
            if number and time.monotonic() > until:
                break
            turn = number % len(present)
            for one in present[turn:] + present[:turn]:
                figures = one.round(number)
                measured.add(one, figures)
                print(f"  {one.name}: {_shown(figures)}", file=sys.stderr, flush=True)
    return measured


def _opened(one: Contestant, stack: ExitStack, measured: Measured) -> bool:
    stack.callback(one.close)
    try:
        one.open()
    except Absent as reason:
        measured.absent[one.name] = str(reason)
        return False
    measured.settings[one.name] = one.settings
    return True


def _shown(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
