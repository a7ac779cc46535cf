"""Agents that are killed while they work on the cache: at every step, what is left serves the next or is removed."""

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pileus.agent.api import ImageRef, VerifyImages
from pileus.agent.image_cache import ImageCache
from tests.agent.images import CONTENT, MIB, RAW, Source, make_image, reference, wait_until
from tests.agent.killed import run_killed
from tests.real_things import require


@dataclass
class Case:
    """A cache in a directory of its own, with an image whose base is `CONTENT`."""

    directory: Path
    data: bytes
    image: ImageRef
    base_format: str = "raw"

    @property
    def source(self) -> Source:
        return Source(i1=self.data, i2=self.data)

    def cache(self) -> ImageCache:
        return ImageCache(self.directory, self.source, base_format=self.base_format)  # type: ignore[arg-type]

    @property
    def base(self) -> Path:
        return self.directory / "base" / self.image.checksum

    def names(self) -> set[str]:
        """What is there, without the image's checksum."""
        return {path.name.replace(self.image.checksum, "") for path in self.base.parent.iterdir()}


def fetch(case: Case) -> None:
    case.cache().ensure(case.image)


def use_for_another_id(case: Case) -> None:
    case.cache().ensure(reference(case.data, case.image.disk_format, "i2"))


def resize(case: Case) -> None:
    case.cache().resized(case.image, 8 * MIB)


def prune(case: Case) -> None:
    assert case.cache().upkeep.prune(unused_for=0).removed == (case.image.checksum,)


def verify(case: Case) -> None:
    assert case.cache().upkeep.verify(VerifyImages()).verified == (case.image.checksum,)


def damage(case: Case) -> None:
    """Change a byte, unnoticed by a glance: as a disk does that rots."""
    found = case.base.stat()
    with case.base.open("r+b") as out:
        out.seek(MIB)
        out.write(b"!")
    os.utime(case.base, ns=(found.st_atime_ns, found.st_mtime_ns))


def damaged(case: Case) -> None:
    fetch(case)
    damage(case)


def set_aside(case: Case) -> None:
    assert case.cache().upkeep.verify(VerifyImages()).damaged == (case.image.checksum,)


def nothing(_case: Case) -> None:
    """Begin with an empty cache."""


def half_fetched(case: Case) -> None:
    case.base.parent.mkdir(parents=True)
    (case.base.parent / f".{case.image.checksum}.part").write_bytes(case.data[:MIB])


def tidy(case: Case) -> None:
    for path in case.base.parent.glob("*"):
        os.utime(path, (0, 0))
    case.cache().upkeep.tidy()


STEPS: dict[str, tuple[Callable[[Case], None], Callable[[Case], None]]] = {
    "fetch": (nothing, fetch),
    "resume": (half_fetched, fetch),
    "tidy": (half_fetched, tidy),
    "use for another id": (fetch, use_for_another_id),
    "prune": (fetch, prune),
    "verify": (fetch, verify),
    "set aside": (damaged, set_aside),
    "fetch anew": (lambda case: (damaged(case), set_aside(case))[0], fetch),
}


@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step(tmp_path: Path, step: str, disk_format: str) -> None:
    require("qemu-img", "setpriv")
    data = CONTENT if disk_format == "raw" else make_image(tmp_path, disk_format, CONTENT)
    prepare, act = STEPS[step]
    for after in itertools.count():
        case = Case(tmp_path / str(after), data, reference(data, disk_format))
        prepare(case)
        killed = run_killed(lambda case=case: act(case), case.directory, after)  # type: ignore[misc]
        _check(case, step)
        if not killed:
            break
    assert after > 3


def _check(case: Case, step: str) -> None:
    """After a kill: what is called complete is, the next user gets the image, and nothing else stays."""
    rotten = step == "set aside"
    if case.base.exists() and not rotten:
        assert case.base.read_bytes() == CONTENT
    case.cache().upkeep.tidy()
    kept = {".damaged"} & case.names()
    assert case.names() <= {"", ".json", "..lock", "..part", *kept}
    for part in case.base.parent.glob(".*.part"):
        os.utime(part, (0, 0))
    case.cache().upkeep.tidy()
    assert case.names() in ({"", ".json", "..lock", *kept}, {"..lock", *kept} if kept else set())
    cache = case.cache()
    if rotten:
        cache.upkeep.verify(VerifyImages())
        kept = {".damaged"}
    assert cache.ensure(case.image).path.read_bytes() == CONTENT
    assert case.names() == {"", ".json", "..lock", *kept}
    assert cache.upkeep.prune(unused_for=0).removed == (case.image.checksum,)
    assert case.names() == set()


def test_killed_at_every_step_of_a_copy(tmp_path: Path) -> None:
    require("qemu-img", "setpriv")
    for after in itertools.count():
        case = Case(tmp_path / str(after), CONTENT, RAW, "qcow2")
        fetch(case)
        killed = run_killed(lambda case=case: resize(case), case.directory, after)  # type: ignore[misc]
        case.cache().upkeep.tidy()
        copy = {f"_{8 * MIB}", f"_{8 * MIB}.json"}
        assert case.names() - copy == {".qcow2", ".qcow2.json", "..lock"}
        path = case.cache().resized(case.image, 8 * MIB).path
        assert path.read_bytes() == CONTENT.ljust(8 * MIB, b"\0")
        assert case.names() == {".qcow2", ".qcow2.json", "..lock", *copy}
        if not killed:
            break
    assert after > 3


def test_killed_in_the_middle_of_a_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is killed by its own qemu-img, which has written half of the target, and dies with it."""
    require("qemu-img", "setpriv")
    data = make_image(tmp_path, "qcow2", CONTENT)
    case = Case(tmp_path / "cache", data, reference(data, "qcow2"))
    program, pid = tmp_path / "bin" / "qemu-img", tmp_path / "pid"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nfor target; do :; done\necho half > $target\necho $$ > {pid}\nkill -9 $PPID\nexec sleep 60\n"
    )
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        assert run_killed(lambda: fetch(case), case.directory, 10**6)
    assert case.names() == {"..lock", "..part", "..new"}
    begun = time.monotonic()
    assert case.cache().ensure(case.image).path.read_bytes() == CONTENT
    assert time.monotonic() - begun < 10
    assert case.names() == {"", ".json", "..lock"}
    wait_until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())


def test_a_conversion_that_outlives_its_agent_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be made to die with the agent, it holds the lock as long as it may still write."""
    require("qemu-img")
    data = make_image(tmp_path, "qcow2", CONTENT)
    case = Case(tmp_path / "cache", data, reference(data, "qcow2"))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "setpriv").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    (programs / "qemu-img").write_text(
        f"#!/bin/sh\nfor target; do :; done\nkill -9 $PPID\nwhile ! test -e {tmp_path}/go; do sleep 0.05; done\n"
        f"echo late > $target\ntouch {tmp_path}/wrote\n"
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        assert run_killed(lambda: fetch(case), case.directory, 10**6)
    case.cache().upkeep.tidy()
    assert case.names() == {"..lock", "..part"}
    (tmp_path / "go").touch()
    assert case.cache().ensure(case.image).path.read_bytes() == CONTENT
    assert (tmp_path / "wrote").exists()
    assert case.names() == {"", ".json", "..lock"}
