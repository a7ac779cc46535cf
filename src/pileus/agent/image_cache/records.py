"""What is known of each file in the cache: a small JSON file beside it, whose time of modification is its last use."""

import errno
import os
from pathlib import Path

import msgspec
import structlog

from pileus.agent.image_cache.checksums import Pace, at_full_speed, checksum_of
from pileus.agent.image_cache.directory import DAMAGED, RECORD
from pileus.kernel.clock import Clock

log = structlog.get_logger("pileus.agent.image_cache")

NANOSECONDS = 1000  # in a microsecond


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was when it was made. Sizes in bytes; times in microseconds unless they say otherwise."""

    checksum: str  # see `checksums`
    size: int  # the file's length
    mtime_ns: int
    virtual_size: int
    created_at: int
    verified_at: int
    image_ids: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()  # `Signature.identity` of those that the image it was made from bears out


class Records:
    """Reads and writes records, and judges files by them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def of(self, path: Path) -> Record | None:
        """The record of a file; None if there is none that can be read."""
        try:
            return msgspec.json.decode(_record_path(path).read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as err:
            log.warning("the record of a cached image cannot be read", path=str(path), reason=str(err))
            return None

    def used_at(self, path: Path) -> int:
        """When a file was last used, or 0 if it has no record."""
        try:
            return _record_path(path).stat().st_mtime_ns // NANOSECONDS
        except FileNotFoundError:
            return 0

    def publish(
        self, complete: Path, path: Path, virtual_size: int, image_ids: tuple[str, ...], signatures: tuple[str, ...]
    ) -> None:
        """Give a complete file its name, with a record. Both are on the disk before it has it."""
        complete.chmod(0o644)
        with complete.open("rb") as file:
            os.fsync(file.fileno())
        now = self._clock.now()
        found = complete.stat()
        record = Record(
            checksum=checksum_of(complete),
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
            virtual_size=virtual_size,
            created_at=now,
            verified_at=now,
            image_ids=image_ids,
            signatures=signatures,
        )
        self._write(path, record, now)
        complete.rename(path)

    def adopt(self, path: Path, virtual_size: int) -> Record:
        """Make a record for a file that has none, as it is now. Nothing tells whether it was damaged before."""
        now = self._clock.now()
        found = path.stat()
        record = Record(
            checksum=checksum_of(path),
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
            virtual_size=virtual_size,
            created_at=found.st_mtime_ns // NANOSECONDS,
            verified_at=now,
        )
        self._write(path, record, now)
        log.warning("a cached image without a record was taken as it is", path=str(path))
        return record

    def plausible(self, path: Path, record: Record) -> bool:
        """Whether a file looks as it was made: a glance, for every boot."""
        found = path.stat()
        return (found.st_size, found.st_mtime_ns) == (record.size, record.mtime_ns)

    def sound(self, path: Path, record: Record, pace: Pace = at_full_speed) -> bool:
        """Whether a file still has the content it was made with: all of it is read. What cannot be is not sound."""
        try:
            return path.stat().st_size == record.size and checksum_of(path, pace) == record.checksum
        except OSError as err:
            if err.errno != errno.EIO:
                raise
            return False

    def verified(self, path: Path, record: Record) -> Record:
        """Note that a file is sound. That is no use of it. The new record."""
        found = path.stat()
        fresh = msgspec.structs.replace(record, verified_at=self._clock.now(), mtime_ns=found.st_mtime_ns)
        self._write(path, fresh, self.used_at(path))
        return fresh

    def used(self, path: Path, record: Record, image_id: str) -> None:
        """Note that a file is used now, for an image of this id."""
        now = self._clock.now()
        if image_id in record.image_ids:
            os.utime(_record_path(path), ns=(now * NANOSECONDS, now * NANOSECONDS))
        else:
            self._write(path, msgspec.structs.replace(record, image_ids=(*record.image_ids, image_id)), now)

    def signed(self, path: Path, signatures: tuple[str, ...]) -> None:
        """Note that the image that a file was made from bears out further signatures."""
        record = self.of(path)
        if record is not None:
            more = msgspec.structs.replace(record, signatures=(*record.signatures, *signatures))
            self._write(path, more, self.used_at(path))

    def set_aside(self, path: Path) -> None:
        """Take a damaged file out of use. It is kept under another name; its next user finds that it is not here."""
        path.rename(path.with_name(path.name + DAMAGED))
        _record_path(path).unlink(missing_ok=True)

    def remove(self, path: Path) -> None:
        """Remove a file and its record: the file first, as a record alone is known to be what a kill left."""
        path.unlink(missing_ok=True)
        _record_path(path).unlink(missing_ok=True)

    def _write(self, path: Path, record: Record, used_at: int) -> None:
        fresh = path.with_name(f".{path.name}{RECORD}")
        with fresh.open("wb") as out:
            out.write(msgspec.json.encode(record))
            out.flush()
            os.fsync(out.fileno())
        os.utime(fresh, ns=(used_at * NANOSECONDS, used_at * NANOSECONDS))
        fresh.replace(_record_path(path))


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + RECORD)
