"""Agents that are killed while they make or remove disks: at every step, the next one finds all or nothing."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.api import DisksSpec
from pileus.agent.disks import FileDisks
from pileus.agent.host import Host
from tests.agent.conftest import SERVER, Site
from tests.agent.images import CONTENT, RAW, Source
from tests.agent.killed import run_killed
from tests.agent.test_disks import blkid, info
from tests.real_things import require

SPEC = DisksSpec(server_id=SERVER, image=RAW, root_gb=1, swap_mb=1)


def disks(host: Host, mode: Any) -> FileDisks:
    made = host.disks
    assert isinstance(made, FileDisks)
    made._mode = mode
    return made


def site_in(directory: Path) -> Site:
    directory.mkdir()
    return Site(directory, Source(i1=CONTENT))


@pytest.mark.parametrize("mode", ["overlay", "copy"])
@pytest.mark.parametrize("act", ["ensure", "ensure_none"])
def test_killed_at_every_step(tmp_path: Path, mode: str, act: str) -> None:
    require("qemu-img", "mkswap")
    for after in itertools.count():
        site = site_in(tmp_path / str(after))
        if act == "ensure":
            killed = run_killed(lambda site=site: disks(site.boot(), mode).ensure(SPEC), site.directory, after)  # type: ignore[misc]
        else:
            disks(site.boot(), mode).ensure(SPEC)
            killed = run_killed(
                lambda site=site: disks(site.boot(), mode).ensure_none(SERVER), site.directory, after  # type: ignore[misc]
            )  # fmt: skip
        _check(site, mode)
        if not killed:
            break
    assert after > 10


def _check(site: Site, mode: str) -> None:
    host = site.boot()
    host.tidy()
    made = disks(host, mode)
    directory = site.directory / "instances" / SERVER
    if not directory.exists():
        assert host.cache.usage.servers() == set()
    root, swap = made.ensure(SPEC)
    assert info(root.path)["virtual-size"] == 1 << 30
    assert 'TYPE="swap"' in blkid(swap.path)
    assert {path.name for path in directory.iterdir()} == {Path(root.path).name, "swap.raw"}
    assert host.cache.usage.users(RAW.checksum) == ((SERVER,) if mode == "overlay" else ())
    made.ensure_none(SERVER)
    assert list((site.directory / "instances").iterdir()) == []
    assert list((site.directory / "cache" / "users").iterdir()) == []
    assert host.cache.upkeep.prune(0).removed == (RAW.checksum,)
