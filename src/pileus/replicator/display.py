"""What the user sees while images are carried: bars on a terminal, lines elsewhere."""

import sys
import threading
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pileus.replicator.outcome import Outcome
from pileus.replicator.records import Record

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Display(Protocol):
    """Told of everything that happens, from any thread."""

    def restart(self, record: Record) -> None:
        """An image's data is sent from the start."""
        ...

    def advance(self, image_id: str, size: int) -> None:
        """So many more bytes of it have passed."""
        ...

    def end(self, outcome: Outcome) -> None:
        """This became of it."""
        ...

    def note(self, text: str) -> None:
        """Something else worth knowing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """A line on standard output for each image; nothing but notes if `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def restart(self, record: Record) -> None:
        """Lines show no progress."""

    def advance(self, image_id: str, size: int) -> None:
        """Lines show no progress."""

    def end(self, outcome: Outcome) -> None:
        """Print what became of an image."""
        if not self._quiet:
            for line in told(outcome):
                print(line, flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """Print it as an aside."""
        print(_harmless(text), file=sys.stderr, flush=True)  # noqa: T201

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lines need no end."""


class Bars(Lines):
    """The lines, and below them a bar for each image whose data is on its way."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}

    def restart(self, record: Record) -> None:
        """Show the bar, empty."""
        with self._lock:
            if record.id in self._tasks:
                self._progress.reset(self._tasks[record.id])
            else:
                self._tasks[record.id] = self._progress.add_task(_harmless(record.name or record.id), total=record.size)

    def advance(self, image_id: str, size: int) -> None:
        """Lengthen the bar."""
        self._progress.advance(self._tasks[image_id], size)

    def end(self, outcome: Outcome) -> None:
        """The bar gives way to the line."""
        with self._lock:
            task = self._tasks.pop(outcome.id, None)
        if task is not None:
            self._progress.remove_task(task)
        super().end(outcome)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def told(outcome: Outcome) -> list[str]:
    """An outcome in words."""
    line = f"{outcome.result:<10} {outcome.id}  {outcome.name}"
    if outcome.sent and outcome.seconds:
        line += f"  {amount(outcome.sent)} in {outcome.seconds:.1f} s ({amount(outcome.sent / outcome.seconds)}/s)"
    if outcome.copy_id:
        line += f"  as {outcome.copy_id}"
    if outcome.error:
        line += f"  {outcome.error}"
    return [_harmless(each) for each in (line, *(f"           {difference}" for difference in outcome.differences))]


def _harmless(line: str) -> str:
    """Names and messages are other people's: what would move the cursor or colour the terminal is not shown."""
    return "".join(character if character.isprintable() else "?" for character in line)


def amount(size: float) -> str:
    """A number of bytes, as people read it."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
