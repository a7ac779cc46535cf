"""How benchmarks print: one line for each figure, beside its goal and what OpenStack took for the same work."""

import os
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number. `goal` is the largest that is good, or with `more` the smallest; None where there is none.

    `peer`: OpenStack 2026.2 on a machine of the same kind (two cores, its APIs with two workers), in the same unit.
    """

    what: str
    value: float
    unit: str
    goal: float | None = None
    peer: float | None = None
    more: bool = False

    @property
    def verdict(self) -> str:
        """Whether the goal was reached."""
        if self.goal is None:
            return ""
        reached = self.value >= self.goal if self.more else self.value <= self.goal
        return "ok" if reached else "MISSED"


def show(how: str, figures: Sequence[Figure]) -> None:
    """Print how it was measured, and the figures."""
    print(f"{how}\nload average before and during: {os.getloadavg()[0]:.1f}")
    print(f"  {'':<58}{'value':>10} {'unit':<8}{'goal':>10}{'OpenStack':>12}")
    for one in figures:
        goal = "" if one.goal is None else f"{'>=' if one.more else '<='} {_text(one.goal)}"
        peer = "" if one.peer is None else _text(one.peer)
        print(f"  {one.what:<58}{_text(one.value):>10} {one.unit:<8}{goal:>10}{peer:>12}  {one.verdict}")


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 95th percentile."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def _text(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
