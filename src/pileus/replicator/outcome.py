"""What became of one image, and of all of them."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from pileus.replicator.records import Difference

UNCHANGED, MISSING, EXTRA, DIFFERS, VANISHED, FAILED, CANCELLED = (
    "unchanged", "missing", "extra", "differs", "vanished", "failed", "cancelled",
)  # fmt: skip
AGREEING = frozenset({"copied", "completed", "replaced", "updated", UNCHANGED, VANISHED})
"""Results after which the two places agree about an image, if no differences are left."""


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    `result`: one of AGREEING, `would <verb>` of a dry run, or what was found wrong. `sent`: bytes of data.
    `copy_id`: the copy's id if it is another.
    """

    id: str
    name: str
    result: str
    size: int = 0
    sent: int = 0
    seconds: float = 0.0
    copy_id: str | None = None
    error: str | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether both places now have the same of this image."""
        return self.result in AGREEING and not self.differences


@dataclass
class Report:
    """All outcomes of one call."""

    command: str
    source: str
    target: str
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    cancelled: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the two places agree about everything that was looked at."""
        return not self.cancelled and all(outcome.agrees for outcome in self.outcomes)

    @property
    def sent(self) -> int:
        """Bytes of data that were carried over."""
        return sum(outcome.sent for outcome in self.outcomes)

    def counts(self) -> dict[str, int]:
        """How many images have which result."""
        return dict(sorted(Counter(outcome.result for outcome in self.outcomes).items()))

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            "command": self.command,
            "from": self.source,
            "to": self.target,
            "agree": self.agrees,
            "cancelled": self.cancelled,
            "counts": self.counts(),
            "bytes": self.sent,
            "seconds": round(self.seconds, 3),
            "images": [{**asdict(outcome), "seconds": round(outcome.seconds, 3)} for outcome in self.outcomes],
        }
