"""What keeps the cache in order: what is in it, what may go, what is damaged, what killed agents left."""

import contextlib
import time
from collections.abc import Collection, Sequence

import structlog

from pileus.agent.api import CachedImage, CachedImages, PrunedImages, VerifiedImages, VerifyImages
from pileus.agent.image_cache.checksums import Pace, at_full_speed
from pileus.agent.image_cache.convert import virtual_size_of
from pileus.agent.image_cache.directory import (
    DAMAGED,
    PART,
    RECORD,
    Busy,
    Directory,
    copied_size,
    format_of,
    image_of,
    is_ready,
)
from pileus.agent.image_cache.records import Record, Records
from pileus.agent.image_cache.space import free_bytes, taken_by
from pileus.agent.image_cache.usage import Usage
from pileus.kernel.clock import MICROSECONDS, Clock

log = structlog.get_logger("pileus.agent.image_cache")

RESUMABLE = 3600.0  # seconds that a download which broke off is kept, for who asks for the image again


class Upkeep:
    """Acts on all images of a cache. Never waits for a fetch: an image that is locked is being used."""

    def __init__(self, files: Directory, records: Records, usage: Usage, clock: Clock) -> None:
        self._files = files
        self._records = records
        self._usage = usage
        self._clock = clock

    # --- what is here ---------------------------------------------------------------------------------------

    def images(self) -> CachedImages:
        """All images, with who uses them."""
        found = [self._described(checksum, names) for checksum, names in self._files.ready().items()]
        for checksum, names in self._files.damaged().items():
            found += [self._described_damaged(checksum, name) for name in names]
        return CachedImages(
            images=tuple(sorted(found, key=lambda image: (image.checksum, image.state))),
            free=free_bytes(self._files.base),
        )

    def strays(self) -> tuple[str, ...]:
        """Images that were set aside as damaged, for audits."""
        return tuple(f"damaged-image {name}" for names in self._files.damaged().values() for name in names)

    def _described(self, checksum: str, names: Sequence[str]) -> CachedImage:
        paths = [self._files.path(name) for name in names]
        base = self._records.of(paths[0])  # the base comes first
        sizes = [copied_size(name) for name in names]
        return CachedImage(
            checksum=checksum,
            format=format_of(names[0]),
            size=sum(map(taken_by, paths)),
            virtual_size=base.virtual_size if base else 0,
            users=self._usage.users(checksum),
            copies=tuple(sorted(size for size in sizes if size is not None)),
            last_used=self._used_at(names),
            created_at=base.created_at if base else 0,
            verified_at=base.verified_at if base else 0,
            image_ids=base.image_ids if base else (),
        )

    def _described_damaged(self, checksum: str, name: str) -> CachedImage:
        return CachedImage(
            checksum=checksum,
            format=format_of(name.removesuffix(DAMAGED)),
            size=taken_by(self._files.path(name)),
            virtual_size=0,
            users=self._usage.users(checksum),
            state="damaged",
        )

    def _used_at(self, names: Sequence[str]) -> int:
        return max((self._records.used_at(self._files.path(name)) for name in names), default=0)

    # --- what may go ----------------------------------------------------------------------------------------

    def prune(self, unused_for: float, min_free: int = 0, checksums: Collection[str] = ()) -> PrunedImages:
        """Remove images that no server needs: those not used for `unused_for` seconds, and then the least recently used
        until `min_free` bytes are free. `checksums`: no others.

        Who enters his need before he asks for an image never loses it (see `usage`).
        """
        removed = []
        before = free_bytes(self._files.base)
        oldest = self._clock.now() - int(unused_for * MICROSECONDS)
        ready, damaged = self._files.ready(), self._files.damaged()
        used_at = {checksum: self._used_at(names) for checksum, names in ready.items()}
        freed = 0
        for checksum in sorted(ready.keys() | damaged.keys(), key=lambda checksum: used_at.get(checksum, 0)):
            if checksums and checksum not in checksums:
                continue
            names = list(damaged.get(checksum, ()))
            if checksum in ready and (used_at[checksum] <= oldest or before + freed < min_free):
                names += ready[checksum]
            gone = self._remove(checksum, names, used_at.get(checksum, 0)) if names else None
            if gone is not None:
                removed.append(checksum)
                freed += gone
                log.info("removed an image that no server needs", checksum=checksum, bytes=gone)
        return PrunedImages(removed=tuple(removed), freed=freed)

    def _remove(self, checksum: str, names: Sequence[str], used_at: int) -> int | None:
        """Remove files of an image; what they took of the disk. None if it is needed, or was used since."""
        with contextlib.suppress(Busy), self._files.alone(checksum, wait=False):
            if not self._usage.users(checksum) and self._used_at(names) <= used_at:
                paths = [self._files.path(name) for name in names]
                freed = sum(map(taken_by, paths))
                for path in reversed(paths):  # the base last: without it, the rest would have no name to be found by
                    self._records.remove(path)
                return freed
        return None

    # --- what is damaged ------------------------------------------------------------------------------------

    def verify(self, wanted: VerifyImages) -> VerifiedImages:
        """Verify images at full speed, longest unverified first, and as long as is wished; one at least."""
        deadline = time.monotonic() + wanted.seconds
        verified: dict[str, bool] = {}
        remaining: set[str] = set()
        for name in self.unverified_since(self._clock.now() + 1 if wanted.before is None else wanted.before):
            checksum = image_of(name)
            if wanted.checksums and checksum not in wanted.checksums:
                continue
            if verified and time.monotonic() >= deadline:
                remaining.add(checksum)
                continue
            sound = self.verify_file(name)
            if sound is not None:
                verified[checksum] = verified.get(checksum, True) and sound
        return VerifiedImages(
            verified=tuple(sorted(checksum for checksum, sound in verified.items() if sound)),
            damaged=tuple(sorted(checksum for checksum, sound in verified.items() if not sound)),
            remaining=tuple(sorted(remaining)),
        )

    def unverified_since(self, instant: int) -> list[str]:
        """The names of files that were last verified before `instant`, longest unverified first."""
        found = []
        for names in self._files.ready().values():
            for name in names:
                record = self._records.of(self._files.path(name))
                found.append((record.verified_at if record else 0, name))
        return [name for verified_at, name in sorted(found) if verified_at < instant]

    def verify_file(self, name: str, pace: Pace = at_full_speed) -> bool | None:
        """Read a file, without a lock as that may take hours; whether it is sound, None if it is not there any more."""
        path = self._files.path(name)
        record = self._records.of(path)
        try:
            if record is None:
                with self._files.alone(image_of(name)):
                    self._records.adopt(path, virtual_size_of(path, format_of(name)))
                return True
            sound = self._records.sound(path, record, pace)
        except FileNotFoundError:
            return None
        with self._files.alone(image_of(name)):
            now = self._records.of(path)
            if now is None or not path.exists() or now.checksum != record.checksum:
                return None  # it was replaced meanwhile
            return self.judge(name, now, sound=sound) is not None

    def judge(self, name: str, record: Record, *, sound: bool) -> Record | None:
        """Take down that a file is sound, or take it out of use; the image is locked. Its record if it is sound.

        A damaged base is set aside, not removed: where the image cannot be had any more, its damaged base is all that
        is left to the disks that are based on it. Its next user fetches it anew. Copies can be made again.
        """
        path = self._files.path(name)
        if sound:
            return self._records.verified(path, record)
        checksum = image_of(name)
        log.error(
            "a cached image is damaged: it is set aside and fetched anew for the next boot",
            path=str(path), checksum=checksum, images=record.image_ids, servers=self._usage.users(checksum),
        )  # fmt: skip
        for other in self._files.ready().get(checksum, ()):
            if copied_size(other) is not None:
                self._records.remove(self._files.path(other))
        if copied_size(name) is None:
            self._records.set_aside(path)
        return None

    # --- what killed agents left ----------------------------------------------------------------------------

    def tidy(self) -> None:
        """Remove what fetches, conversions and removals left that were killed. Those under way are not disturbed."""
        self._usage.tidy()
        for checksum in self._files.unfinished():
            with contextlib.suppress(Busy), self._files.alone(checksum, wait=False):
                names = set(self._files.files_of(checksum))
                for name in names:
                    if self._is_left_over(name, names):
                        self._files.path(name).unlink(missing_ok=True)

    def _is_left_over(self, name: str, names: Collection[str]) -> bool:
        if name.endswith(PART):
            age = time.time() - self._files.path(name).stat().st_mtime
            return age > RESUMABLE or any(map(is_ready, names))
        if name.startswith("."):
            return True
        return name.endswith(RECORD) and name.removesuffix(RECORD) not in names
