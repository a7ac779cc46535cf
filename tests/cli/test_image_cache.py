"""`pileus image cache`, with the whole cloud in this process: two hosts that keep real files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.cli import image_cache_work as work
from pileus.kernel.errors import Conflict, NotFound
from tests.cli.test_cli import Command
from tests.world import World

HOSTS = ("h1", "h2")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, hosts=HOSTS, files=True) as made:
        yield made


@pytest.fixture
def image(world: World) -> str:
    """The id of an image of 4 KiB."""
    return world.admin.image(b"\1" * 4096, name="small")


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The hosts of the JSON document on standard output, and what is on standard error."""
    captured = capsys.readouterr()
    hosts: dict[str, Any] = json.loads(captured.out)["hosts"]
    return hosts, captured.err


def test_fetched_images_are_listed_with_their_users(
    world: World, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert work.prefetch(world.cloud, ["small"], HOSTS, as_json=True) == 0
    assert printed(capsys) == ({host: {"images": [image]} for host in HOSTS}, "")
    server = world.admin.create(imageRef=image, flavorRef=world.admin.flavor(), networks="none", version="2.37")
    world.run()
    host = world.admin.server(server)["OS-EXT-SRV-ATTR:host"]
    assert work.show(world.cloud, (), as_json=True) == 0
    hosts, _ = printed(capsys)
    (shown,) = hosts[host]["images"]
    assert shown["image_ids"] == [image]
    assert shown["users"] == [server]
    assert shown["state"] == "ready"
    assert shown["virtual_size"] == 4096
    (other,) = (one for one in HOSTS if one != host)
    assert hosts[other]["images"][0]["users"] == []
    assert hosts[other]["to_be_fetched"] == []


def test_the_list_for_people(world: World, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert work.show(world.cloud, (), as_json=False) == 0
    assert capsys.readouterr().out == "No host holds an image.\n"
    world.machines["h1"].silent = float("inf")
    work.wish(world.cloud, [image], HOSTS)
    assert "2 hosts will fetch 1 images" in capsys.readouterr().out
    world.run()
    world.machines["h1"].silent = 0
    assert work.show(world.cloud, (), as_json=False) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:5] == ["host", "image", "checksum", "state", "format"]
    (row,) = (one for one in rows if one.startswith("h2"))
    assert row.split()[1] == "small"
    assert "ready" in row
    (row,) = (one for one in rows if one.startswith("h1"))
    assert "to be fetched (The agent of host h1 does not answer" in row


def test_a_host_that_does_not_answer_is_named_and_the_others_are_shown(
    world: World, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.machines["h1"].silent = float("inf")
    for command in (
        lambda: work.prefetch(world.cloud, [image], HOSTS, as_json=True),
        lambda: work.show(world.cloud, (), as_json=True),
        lambda: work.verify(world.cloud, (), HOSTS, as_json=True),
        lambda: work.prune(world.cloud, (), HOSTS, None, as_json=True),
    ):
        assert command() == 1
        hosts, errors = printed(capsys)
        assert errors == f"pileus: h1: {hosts['h1']['error']}\n"
        assert "does not answer" in errors
        assert "error" not in hosts["h2"]
    assert work.show(world.cloud, ("h2",), as_json=True) == 0, "h1 was not asked"


def test_damage_is_found(world: World, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    work.prefetch(world.cloud, [image], HOSTS, as_json=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["host", "images"], ["h1", image], ["h2", image]
    ]  # fmt: skip
    assert work.verify(world.cloud, [image], (), as_json=True) == 0
    hosts, _ = printed(capsys)
    (checksum,) = hosts["h1"]["verified"]
    (base,) = (path for path in world.machines["h1"].directory.rglob(f"{checksum}*") if path.stat().st_size == 4096)
    base.write_bytes(b"\2" * 4096)
    assert work.verify(world.cloud, (), (), as_json=False) == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["host", "sound", "damaged", "set", "aside"], ["h1", "0", "1", checksum[:12]], ["h2", "1", "0"]
    ]  # fmt: skip


def test_unused_images_are_removed(world: World, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    used = world.admin.image(b"\3" * 8192, name="used")
    work.prefetch(world.cloud, [image, "used"], HOSTS, as_json=True)
    server = world.admin.create(imageRef=used, flavorRef=world.admin.flavor(), networks="none", version="2.37")
    world.run()
    host = world.admin.server(server)["OS-EXT-SRV-ATTR:host"]
    capsys.readouterr()
    assert work.prune(world.cloud, ["used"], [host], 0, as_json=True) == 0
    assert printed(capsys)[0][host]["removed"] == [], "a server uses it"
    assert work.prune(world.cloud, (), (), None, as_json=True) == 0
    assert all(not one["removed"] for one in printed(capsys)[0].values()), "they were used just now"
    assert work.prune(world.cloud, (), (), 0, as_json=False) == 0
    removed = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert removed == {name: "1" if name == host else "2" for name in HOSTS}


def test_hosts_are_chosen_by_name_by_aggregate_or_as_all_that_are_up(world: World) -> None:
    admin = world.admin
    aggregate = admin.ok("POST", "/compute/v2.1/os-aggregates", {"aggregate": {"name": "a"}})["aggregate"]["id"]
    admin.ok("POST", f"/compute/v2.1/os-aggregates/{aggregate}/action", {"add_host": {"host": "h2"}})
    assert work.chosen(world.cloud, (), "a") == work.chosen(world.cloud, (), str(aggregate)) == ["h2"]
    assert work.chosen(world.cloud, ("h1",), "a") == []
    assert work.chosen(world.cloud, ("h1",)) == ["h1"]
    assert work.chosen(world.cloud, ()) == ["h1", "h2"]
    world.clock.sleep(61)
    world.report("h1")
    assert work.chosen(world.cloud, ()) == ["h1"]
    for names, name in ((("h3",), None), ((), "b")):
        with pytest.raises(NotFound):
            work.chosen(world.cloud, names, name)


def test_images_are_known_by_id_or_by_a_name_that_only_one_has(world: World, image: str) -> None:
    assert [one.id for one in work.found(world.cloud, ["small", image])] == [image, image]
    with pytest.raises(NotFound, match="no image large"):
        work.found(world.cloud, ["large"])
    world.admin.image(name="small")
    with pytest.raises(Conflict, match="Several images are named small"):
        work.found(world.cloud, ["small"])


def test_the_command_as_it_is_typed(tmp_path: Path) -> None:
    pileus = Command(tmp_path)
    done = pileus("image", "cache", "--help")
    assert all(f" {name} " in done.stdout for name in ("list", "prefetch", "verify", "prune"))
    done = pileus("image", "cache", "list")
    assert done.returncode == 1
    assert "The database cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "state").mkdir(exist_ok=True)
    assert pileus("db", "upgrade").returncode == 0
    done = pileus("image", "cache", "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "No host holds an image.\n", "")
    done = pileus("image", "cache", "prefetch", "none", "--host", "h1")
    assert (done.returncode, done.stderr) == (1, "pileus: Compute host h1 could not be found.\n")
