"""All images of one call, several at a time."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain

from pileus.replicator.copier import Comparer, Copier, Liberties
from pileus.replicator.display import Display
from pileus.replicator.errors import Cancelled, ReplicationError
from pileus.replicator.outcome import CANCELLED, FAILED, Outcome, Report
from pileus.replicator.patience import Patience
from pileus.replicator.places import Selection, Source, Target
from pileus.replicator.records import Record, Rules

Work = Callable[[Record], Outcome | None]
"""None: there is nothing to say of the image."""
Running = set[Future[Outcome | None]]
Keep = Callable[[Outcome | None], None]


@dataclass(frozen=True)
class Size:
    """How many images there are, and how many bytes they have together."""

    images: int
    bytes: int


def size(source: Source, selection: Selection) -> Size:
    """Count the images that are meant."""
    count = total = 0
    for record in source.images(selection):
        count += 1
        total += record.size or 0
    return Size(count, total)


class Run:
    """One call of a command that goes through all images that are meant."""

    def __init__(self, source: Source, target: Target, selection: Selection, patience: Patience, display: Display,
                 jobs: int) -> None:  # fmt: skip
        self._source = source
        self._target = target
        self._selection = selection
        self._patience = patience
        self._display = display
        self._jobs = jobs

    def copy(self, command: str, rules: Rules, liberties: Liberties) -> Report:
        """Make the target have what the source has."""
        copier = Copier(self._source, self._target, rules, liberties, self._patience, self._display)
        return self._report(command, ((record, copier.copy) for record in self._source.images(self._selection)))

    def compare(self, rules: Rules, *, extra: bool) -> Report:
        """Tell what differs; with `extra`, also what only the target has."""
        comparer = Comparer(self._source, self._target, rules)
        tasks: Iterator[tuple[Record, Work]] = (
            (record, comparer.compare) for record in self._source.images(self._selection)
        )
        if extra:
            found = self._target.images(self._selection)
            tasks = chain(tasks, ((record, comparer.extra) for record in found))
        return self._report("compare", tasks)

    def _report(self, command: str, tasks: Iterable[tuple[Record, Work]]) -> Report:
        report = Report(command, self._source.label, self._target.label)
        began = time.monotonic()

        def keep(outcome: Outcome | None) -> None:
            if outcome is not None:
                report.outcomes.append(outcome)
                self._display.end(outcome)

        try:
            self._go_through(tasks, keep)
        except KeyboardInterrupt:
            report.cancelled = True
        report.seconds = time.monotonic() - began
        return report

    def _go_through(self, tasks: Iterable[tuple[Record, Work]], keep: Keep) -> None:
        """Do all tasks; what is listed is kept back until there are hands for it.

        An interrupt stops all transfers, and is passed on when they have cleared up.
        """
        running: Running = set()
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="replicate") as pool:
            try:
                for record, work in tasks:
                    running.add(pool.submit(self._one, record, work))
                    if len(running) > self._jobs:
                        running = _keep_finished(running, keep)
                while running:
                    running = _keep_finished(running, keep)
            except BaseException:
                self._patience.stop.set()
                pool.shutdown(cancel_futures=True)
                for future in running:
                    if not future.cancelled() and future.exception() is None:
                        keep(future.result())
                raise

    def _one(self, record: Record, work: Work) -> Outcome | None:
        try:
            return work(record)
        except ReplicationError as err:
            result = CANCELLED if isinstance(err, Cancelled) else FAILED
            return Outcome(record.id, record.name, result, record.size or 0, error=err.message)


def _keep_finished(running: Running, keep: Keep) -> Running:
    """Wait until something has finished: what is still running."""
    done, running = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        keep(future.result())
    return running
