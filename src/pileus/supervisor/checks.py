"""Checks of a machine and its cloud, each with a verdict and, if it is bad, what to do.

A module with checks decorates functions with `check`; `pileus doctor` imports the modules named in MODULES and runs
them all, `pileus up` runs those that must be good before a start.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pileus.kernel.errors import PileusError
from pileus.settings import Settings

MODULES = ("pileus.supervisor.host_checks",)


class Level(StrEnum):
    """How good a verdict is."""

    OK = "ok"
    WARNING = "warning"  # works, but not as well as it could
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """What a check found, in a sentence; `remedy` is what the operator can do."""

    level: Level
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """A named question about this machine."""

    name: str
    run: Callable[[Settings], Verdict]
    before_start: bool


_registry: list[Check] = []


def check(name: str, *, before_start: bool = False) -> Callable[[Callable[[Settings], Verdict]], Check]:
    """Register the decorated function. With `before_start`, a cloud is not started while it fails."""

    def register(run: Callable[[Settings], Verdict]) -> Check:
        found = Check(name, run, before_start)
        _registry.append(found)
        return found

    return register


def good(message: str) -> Verdict:
    """All is well."""
    return Verdict(Level.OK, message)


def warning(message: str, remedy: str = "") -> Verdict:
    """It works, but."""
    return Verdict(Level.WARNING, message, remedy)


def failed(message: str, remedy: str = "") -> Verdict:
    """It does not work."""
    return Verdict(Level.FAILED, message, remedy)


def all_checks(modules: Iterable[str] = MODULES) -> list[Check]:
    """Every registered check, in the order of the modules."""
    for module in modules:
        importlib.import_module(module)
    return list(_registry)


def verdicts(settings: Settings, *, before_start: bool = False) -> Iterator[tuple[Check, Verdict]]:
    """Run the checks one after the other. One that cannot be carried out has failed."""
    for found in all_checks():
        if before_start and not found.before_start:
            continue
        try:
            yield found, found.run(settings)
        except (OSError, PileusError) as err:
            yield found, failed(f"cannot be checked: {err}")
