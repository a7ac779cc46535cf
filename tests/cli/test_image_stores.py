"""`pileus image move` and `evacuate`, with the whole cloud in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.cli import image_stores_work as work
from pileus.kernel.errors import NotFound
from tests.world import World

STORES = """
[image.stores.local]
directory = "local"
[image.stores.second]
directory = "second"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, configuration=STORES) as made:
        yield made


def stores(world: World, image: str) -> str:
    return str(world.admin.ok("GET", f"/image/v2/images/{image}")["stores"])


def test_an_image_is_moved(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    image = world.admin.image()
    assert work.move(world.cloud, [image], "local", "second", wait=True, pause=lambda _seconds: world.run()) == 0
    assert capsys.readouterr().out == "1 of 1 images were moved from local to second.\n"
    assert stores(world, image) == "second"


def test_a_store_is_evacuated(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    images = [world.admin.image(bytes([number]) * 4096) for number in range(3)]
    found = work.images_in(world.cloud, "local")
    assert sorted(found) == sorted(images)
    assert work.move(world.cloud, found, "local", "second", wait=False) == 0
    assert "3 of 3 images are being moved" in capsys.readouterr().out
    world.run()
    assert work.images_in(world.cloud, "local") == []
    assert world.cloud.images.stored.stores.get("local").images() == ()
    assert [stores(world, image) for image in images] == ["second"] * 3


def test_what_cannot_be_moved_is_told(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, bad = world.admin.image(), world.admin.image()
    damaged = next(tmp_path.rglob(f"local/{bad}"))
    damaged.write_bytes(b"\1" * 4096)
    missing = "00000000-0000-4000-8000-000000000000"
    code = work.move(
        world.cloud, [good, bad, missing], "local", "second", wait=True, pause=lambda _seconds: world.run()
    )
    told = capsys.readouterr()
    assert (code, told.out) == (1, "1 of 3 images were moved from local to second.\n")
    assert missing in told.err
    assert f"Image {bad} stays where it was" in told.err
    assert (stores(world, good), stores(world, bad)) == ("second", "local")
    with pytest.raises(NotFound):
        work.images_in(world.cloud, "nowhere")
