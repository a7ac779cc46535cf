"""Requests that meet: what may be there once is there once, and quotas hold."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pileus.compute.settings import ComputeSettings
from pileus.kernel.db import Database
from tests.compute_admin.test_keypairs import KEY
from tests.compute_admin.world import PROJECT, World


def at_once(world: World, path: str, bodies: list[Any], as_: str = "admin", method: str = "POST") -> list[int]:
    """The statuses of requests that are sent at the same time, sorted."""
    with ThreadPoolExecutor(len(bodies)) as threads:
        answers = threads.map(lambda body: world.raw(method, path, body, as_=as_).status_code, bodies)
        return sorted(answers)


def test_one_of_several_flavors_of_a_name_is_made(worlds: World) -> None:
    bodies = [{"flavor": {"name": "same", "ram": 1, "vcpus": 1, "disk": 0}} for _ in range(6)]
    assert at_once(worlds, "/flavors", bodies) == [200, 409, 409, 409, 409, 409]


def test_extra_specs_that_are_added_at_once_are_all_there(worlds: World) -> None:
    worlds.call("POST", "/flavors", {"flavor": {"name": "f", "id": "f", "ram": 1, "vcpus": 1, "disk": 0}})
    bodies = [{"extra_specs": {f"key{number}": "v"}} for number in range(6)]
    assert at_once(worlds, "/flavors/f/os-extra_specs", bodies) == [200] * 6
    assert len(worlds.call("GET", "/flavors/f/os-extra_specs")["extra_specs"]) == 6


def test_access_is_given_once(worlds: World) -> None:
    flavor = {"name": "p", "id": "p", "ram": 1, "vcpus": 1, "disk": 0, "os-flavor-access:is_public": False}
    worlds.call("POST", "/flavors", {"flavor": flavor})
    body = {"addTenantAccess": {"tenant": PROJECT}}
    assert at_once(worlds, "/flavors/p/action", [body] * 4) == [200, 409, 409, 409]


def test_the_last_key_pair_of_a_quota_is_taken_once(database: Database) -> None:
    world = World(database, ComputeSettings(quota_key_pairs=2))
    bodies = [{"keypair": {"name": f"k{number}", "public_key": KEY}} for number in range(6)]
    assert at_once(world, "/os-keypairs", bodies, "member") == [201, 201, 403, 403, 403, 403]


def test_limits_that_are_set_at_once(worlds: World) -> None:
    bodies = [{"quota_set": {"ram": 1000 + number, "cores": 1000 + number}} for number in range(6)]
    assert at_once(worlds, f"/os-quota-sets/{PROJECT}", bodies, method="PUT") == [200] * 6
    limits = worlds.call("GET", f"/os-quota-sets/{PROJECT}")["quota_set"]
    assert limits["ram"] == limits["cores"]
