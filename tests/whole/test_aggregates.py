"""Host aggregates and pre-caching in the whole cloud: where servers go, and what hosts hold before they come."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world import Api, World

HOSTS = ("h1", "h2", "h3")
COMPUTE = "/compute/v2.1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, hosts=HOSTS, files=True) as made:
        yield made


def aggregate(admin: Api, name: str, hosts: tuple[str, ...], **metadata: str) -> int:
    """Make an aggregate; its number."""
    number: int = admin.ok("POST", f"{COMPUTE}/os-aggregates", {"aggregate": {"name": name}})["aggregate"]["id"]
    for host in hosts:
        admin.ok("POST", f"{COMPUTE}/os-aggregates/{number}/action", {"add_host": {"host": host}})
    admin.ok("POST", f"{COMPUTE}/os-aggregates/{number}/action", {"set_metadata": {"metadata": metadata}})
    return number


def boot(world: World, api: Api, **fields: Any) -> dict[str, Any]:
    """A server when everything that was to be done for it is done, as the administrator sees it."""
    server = api.create(**{"networks": "none", "version": "2.37", **fields})
    world.run()
    return world.admin.server(server)


def host_of(server: dict[str, Any]) -> Any:
    return server["OS-EXT-SRV-ATTR:host"]


# --- scheduling ---------------------------------------------------------------------------------------------


def test_servers_are_placed_by_zone(world: World) -> None:
    admin = world.admin
    image, flavor = admin.image(), admin.flavor()
    aggregate(admin, "a", ("h2",), availability_zone="east")
    for _ in range(2):
        server = boot(world, admin, imageRef=image, flavorRef=flavor, availability_zone="east")
        assert host_of(server) == "h2"
        assert server["OS-EXT-AZ:availability_zone"] == "east"
    for _ in range(2):
        assert host_of(boot(world, admin, imageRef=image, flavorRef=flavor, availability_zone="nova")) in ("h1", "h3")
    code, message = admin.refused(
        "POST", f"{COMPUTE}/servers",
        {"server": {"name": "x", "imageRef": image, "flavorRef": flavor, "availability_zone": "west"}},
    )  # fmt: skip
    assert (code, message) == (400, "The requested availability zone is not available")
    zones = admin.ok("GET", f"{COMPUTE}/os-availability-zone")["availabilityZoneInfo"]
    assert [zone["zoneName"] for zone in zones] == ["east", "nova"]


def test_hosts_are_kept_for_projects(world: World) -> None:
    admin, alice, bob = world.admin, world.member("alice"), world.member("bob")
    image, flavor = admin.image(visibility="public"), admin.flavor()
    aggregate(admin, "a", ("h1", "h2"), filter_tenant_id=alice.project_id)
    assert {host_of(boot(world, bob, imageRef=image, flavorRef=flavor)) for _ in range(3)} == {"h3"}
    assert {host_of(boot(world, alice, imageRef=image, flavorRef=flavor)) for _ in range(4)} >= {"h1", "h2"}
    aggregate(admin, "b", ("h3",), filter_tenant_id_more=f"{alice.project_id}, another")
    refused = boot(world, bob, imageRef=image, flavorRef=flavor)
    assert refused["status"] == "ERROR"
    assert "3 kept for other projects (AggregateMultiTenancyIsolation)" in refused["fault"]["message"]


def test_flavors_ask_for_aggregates(world: World) -> None:
    admin = world.admin
    image, flavor = admin.image(), admin.flavor()
    specs = {"extra_specs": {"aggregate_instance_extra_specs:ssd": "true", "hw:cpu_policy": "shared"}}
    admin.ok("POST", f"{COMPUTE}/flavors/{flavor}/os-extra_specs", specs)
    refused = boot(world, admin, imageRef=image, flavorRef=flavor)
    assert "(AggregateInstanceExtraSpecsFilter)" in refused["fault"]["message"]
    aggregate(admin, "a", ("h3",), ssd="true")
    aggregate(admin, "b", ("h2",), ssd="false")
    assert {host_of(boot(world, admin, imageRef=image, flavorRef=flavor)) for _ in range(2)} == {"h3"}


def test_hosts_are_kept_for_images(world: World) -> None:
    admin = world.admin
    flavor = admin.flavor()
    aggregate(admin, "a", ("h1", "h2"), os_distro="debian, ubuntu")
    other, plain = admin.image(os_distro="windows"), admin.image()
    assert {host_of(boot(world, admin, imageRef=other, flavorRef=flavor)) for _ in range(2)} == {"h3"}
    assert {host_of(boot(world, admin, imageRef=plain, flavorRef=flavor)) for _ in range(4)} >= {"h1", "h2"}


# --- pre-caching --------------------------------------------------------------------------------------------


def cached(world: World, image: str) -> set[str]:
    """The hosts that report an image."""
    world.report()
    checksum = world.admin.ok("GET", f"/image/v2/images/{image}")["os_hash_value"]
    with world.db.read() as tx:
        return {host.name for host in world.cloud.hosts.all(tx) if checksum in host.inventory.cached_images}


def test_images_are_cached_on_the_hosts_of_an_aggregate(world: World) -> None:
    admin = world.admin
    image = admin.image()
    number = aggregate(admin, "a", ("h1", "h2"))
    path = f"{COMPUTE}/os-aggregates/{number}/images"
    world.machines["h2"].silent = float("inf")
    admin.ok("POST", path, {"cache": [{"id": image}]}, version="2.81")
    world.run()
    assert cached(world, image) == {"h1"}
    world.machines["h2"].silent = 0
    world.clock.sleep(31)
    world.report()
    world.run()
    assert cached(world, image) == {"h1", "h2"}
    unknown = {"cache": [{"id": "11111111-1111-4111-8111-111111111111"}]}
    assert admin.refused("POST", path, unknown, version="2.81")[0] == 400


def test_critical_images_are_cached_everywhere(tmp_path: Path) -> None:
    settings = {"precache.critical_key": "critical"}
    with World(tmp_path, hosts=HOSTS, files=True, settings=settings) as world:
        image, flavor = world.admin.image(), world.admin.flavor()
        server = boot(world, world.admin, imageRef=image, flavorRef=flavor)
        assert cached(world, image) == {host_of(server)}
        path = f"{COMPUTE}/servers/{server['id']}/metadata"
        world.admin.ok("POST", path, {"metadata": {"critical": "true"}})
        world.run()
        world.run()
        assert cached(world, image) == set(HOSTS)


def test_a_cached_image_boots_while_its_data_cannot_be_had(tmp_path: Path) -> None:
    with World(tmp_path, hosts=("h1",), files=True) as world:
        admin = world.admin
        image, late, flavor = admin.image(b"\1" * 4096), admin.image(b"\2" * 4096), admin.flavor()
        number = aggregate(admin, "a", ("h1",))
        path = f"{COMPUTE}/os-aggregates/{number}/images"
        admin.ok("POST", path, {"cache": [{"id": image}]}, version="2.81")
        world.run()
        for store in world.cloud_settings.image.files_dir.rglob("*"):
            if store.is_file():
                store.unlink()
        assert admin.call("GET", f"/image/v2/images/{image}/file").status_code >= 400
        assert boot(world, admin, imageRef=image, flavorRef=flavor)["status"] == "ACTIVE"
        assert boot(world, admin, imageRef=late, flavorRef=flavor)["status"] == "ERROR"
