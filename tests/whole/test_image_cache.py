"""Cached images in a whole cloud: what is cached on a host opens no door that the image service keeps shut."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pileus.agent.api import PruneImages
from pileus.kernel.clock import SystemClock
from tests.agent.images import CONTENT, make_image
from tests.real_things import require
from tests.whole.conftest import Scene, scene
from tests.world import Api, World, wait_until


@pytest.fixture
def cached(make_world: Callable[..., World]) -> Scene:
    """A cloud whose host has alice's private image in its cache, and a server of hers that is based on it."""
    require("qemu-img")
    here = scene(make_world(files=True))
    here.active()
    assert len(here.world.machine.host.cache.cached()) == 1
    here.world.report()
    return here


def refused(here: Scene, who: Api) -> tuple[int, str]:
    answer = who.request_server(imageRef=here.image, flavorRef=here.flavor, networks="none", version="2.37")
    ((_, error),) = answer.json.items()
    return answer.status_code, error["message"]


def boots(here: Scene, who: Api) -> bool:
    server = who.create(imageRef=here.image, flavorRef=here.flavor, networks="none", version="2.37")
    here.world.run()
    return bool(who.server(server)["status"] == "ACTIVE")


def test_nobody_boots_what_he_may_not_see(cached: Scene) -> None:
    mallory = cached.world.member("mallory")
    before = cached.world.machine.host.state()
    status, message = refused(cached, mallory)
    assert status == 400
    assert cached.image in message
    assert mallory.servers() == []
    cached.world.run()
    assert cached.world.machine.host.state() == before


def test_what_is_no_longer_shared_is_no_longer_booted(cached: Scene) -> None:
    bob = cached.world.member("bob")
    members = f"/image/v2/images/{cached.image}/members"
    patch = {"Content_Type": "application/openstack-images-v2.1-json-patch"}
    shared = b'[{"op": "replace", "path": "/visibility", "value": "shared"}]'
    cached.alice.ok("PATCH", f"/image/v2/images/{cached.image}", shared, **patch)
    cached.alice.ok("POST", members, {"member": bob.project_id})
    assert boots(cached, bob)
    cached.alice.ok("DELETE", f"{members}/{bob.project_id}")
    assert refused(cached, bob)[0] == 400


@pytest.mark.parametrize("way", ["deactivated", "deleted"])
def test_what_was_taken_back_is_not_booted_from_the_cache(cached: Scene, way: str) -> None:
    path = f"/image/v2/images/{cached.image}"
    if way == "deactivated":
        cached.world.admin.ok("POST", f"{path}/actions/deactivate")
    else:
        cached.alice.ok("DELETE", path)
    assert refused(cached, cached.alice)[0] == 400


def test_a_server_survives_its_images_deletion_and_its_hosts_pruning(cached: Scene) -> None:
    """The base that its disk needs is all that is left of the image: it stays, and the server starts again."""
    (server,) = cached.alice.servers()
    cached.alice.ok("DELETE", f"/image/v2/images/{cached.image}")
    host = cached.world.machine.host
    assert host.prune_images(PruneImages(unused_for=0, min_free=1 << 60)).removed == ()
    cached.world.machine.boot()
    cached.alice.act(server["id"], "reboot", {"type": "HARD"})
    cached.world.run()
    assert cached.alice.server(server["id"])["status"] == "ACTIVE"
    cached.alice.delete(server["id"])
    cached.world.run()
    assert len(cached.world.machine.host.prune_images(PruneImages(unused_for=0)).removed) == 1


def test_twenty_servers_download_an_image_once(make_world: Callable[..., World], tmp_path: Path) -> None:
    require("qemu-img")
    here = scene(make_world(files=True, clock=SystemClock()))
    here.image = here.alice.image(make_image(tmp_path, "qcow2", CONTENT), "qcow2")
    fetched: list[str] = []
    fetch = here.world._fetch_for("h1")

    def counted(image_id: str, start: int) -> Iterator[bytes]:
        fetched.append(image_id)
        return fetch(image_id, start)

    here.world.machine._fetch = counted
    here.world.machine.boot()
    here.world.report()
    quota = f"/compute/v2.1/os-quota-sets/{here.alice.project_id}"
    here.world.admin.ok("PUT", quota, {"quota_set": {"instances": 20, "cores": 20}})
    here.alice.ok("POST", "/compute/v2.1/servers", {"server": {"name": "vm", **here.wanted(), "min_count": 20}})
    here.world.start_conductor()
    wait_until(lambda: {server["status"] for server in here.alice.servers()} == {"ACTIVE"}, 60)
    servers = [server["id"] for server in here.alice.servers()]
    assert len(servers) == 20
    assert fetched == [here.image]
    (image,) = here.world.machine.host.cache.upkeep.images().images
    assert image.users == tuple(sorted(servers))
    for disk in here.world.machine.directory.rglob("root.qcow2"):
        subprocess.run(["qemu-img", "check", "-q", disk], check=True)
