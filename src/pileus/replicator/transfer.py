"""One image's data on its way: broken reads continue, everything is hashed, wrong data never arrives as a whole."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pileus.replicator.errors import Mismatch, ReplicationError, Unreachable
from pileus.replicator.patience import Patience
from pileus.replicator.places import Source
from pileus.replicator.records import Record

USUAL_ALGORITHM = "sha512"
"""What image services hash with unless they are told otherwise."""


class Digests:
    """The hashes of everything that has passed: MD5, the original's own, and the usual one."""

    def __init__(self, algorithm: str | None) -> None:
        self.size = 0
        wanted = {"md5", USUAL_ALGORITHM, algorithm or "md5"} & hashlib.algorithms_available
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in sorted(wanted)}

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(chunk)
        for one in self._hashes.values():
            one.update(chunk)

    def check(self, record: Record, place: str, *, required: bool) -> None:
        """Mismatch unless these bytes are what the record says; if `required`, also if it says nothing of them."""
        if record.size != self.size:
            raise Mismatch(f"{place} says that the image has {record.size} bytes; {self.size} have passed.")
        said = [("md5", record.checksum), (record.os_hash_algo, record.os_hash_value)]
        known = [(name, value) for name, value in said if name in self._hashes and value]
        if required and not known:
            raise Mismatch(f"{place} gives no checksum that could be compared.")
        for name, value in known:
            actual = self._hashes[name or ""].hexdigest()
            if actual != value:
                raise Mismatch(f"{place} says that the image's {name} is {value}; of what has passed, it is {actual}.")


class Transfer:
    """Reads one image once, for one attempt to write it.

    The last chunk is handed on only when all of it is known to be the original's data: a target that counts bytes
    (HTTP's Content-Length) never gets to hold an image of wrong data.
    """

    def __init__(
        self, source: Source, record: Record, patience: Patience, passed: Callable[[int], None] = lambda _: None
    ) -> None:
        if record.size is None:
            raise ReplicationError(f"{source.label} does not say how large the image is.")
        self._source = source
        self._record = record
        self._patience = patience
        self._passed = passed
        self._total = record.size
        self._taken = 0
        self.digests = Digests(record.os_hash_algo)
        self._check_if_complete()

    def __len__(self) -> int:
        return self._total - self._taken

    def already(self, chunks: Iterator[bytes]) -> None:
        """Take in what the target has from an earlier run."""
        for chunk in chunks:
            self._take(chunk)
            self.digests.update(chunk)
            self._check_if_complete()

    def __iter__(self) -> Iterator[bytes]:
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as hasher:
            hashing: Future[None] | None = None
            for chunk in self._read():
                if hashing is not None:
                    hashing.result()
                self._take(chunk)
                hashing = hasher.submit(self.digests.update, chunk)  # while this one is sent and the next is read
                if not len(self):
                    hashing.result()
                    self._check_if_complete()
                yield chunk

    def _read(self) -> Iterator[bytes]:
        """What the source sends, from one attempt after another."""
        failures = 0
        while len(self):
            try:
                for chunk in self._source.read(self._record, self._taken):
                    failures = 0
                    yield chunk
                if len(self):
                    raise Unreachable(f"{self._source.label}: the download ended {len(self)} bytes early.")  # noqa: TRY301
            except Unreachable as err:
                if failures >= self._patience.retries:
                    raise ReplicationError(f"{err.message} (tried {failures + 1} times)") from err
                self._patience.pause(failures, err.retry_after)
                failures += 1

    def _take(self, chunk: bytes) -> None:
        self._patience.check()
        self._taken += len(chunk)
        self._passed(len(chunk))
        if self._taken > self._total:
            raise Mismatch(f"{self._source.label} says that the image has {self._total} bytes; there are more.")

    def _check_if_complete(self) -> None:
        if not len(self):
            self.digests.check(self._record, self._source.label, required=False)
