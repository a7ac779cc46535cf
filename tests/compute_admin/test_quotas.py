"""Quotas, limits and extensions through the API."""

from typing import Any

import pytest

from pileus.compute.servers.store import set_deleted
from pileus.kernel.errors import OverLimit
from tests.compute_admin.world import ACTORS, OTHER_PROJECT, PROJECT, READER, USER, World

COMPUTE = {
    "instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "key_pairs": 100, "server_groups": 10,
    "server_group_members": 10,
}  # fmt: skip
INJECTED = {"injected_files": 5, "injected_file_content_bytes": 10240, "injected_file_path_bytes": 255}
NETWORK = {"fixed_ips": -1, "floating_ips": -1, "security_groups": -1, "security_group_rules": -1}
SET = f"/os-quota-sets/{PROJECT}"
CLASS = "/os-quota-class-sets/default"


def show(world: World, path: str = SET, **how: Any) -> dict[str, Any]:
    """A quota set."""
    shown: dict[str, Any] = world.call("GET", path, **how)["quota_set"]
    return shown


def change(world: World, path: str = SET, **values: Any) -> dict[str, Any]:
    """Update a quota set; it afterwards."""
    changed: dict[str, Any] = world.call("PUT", path, {"quota_set": values})["quota_set"]
    return changed


@pytest.mark.parametrize(
    ("version", "limits"),
    [("2.1", COMPUTE | INJECTED | NETWORK), ("2.35", COMPUTE | INJECTED | NETWORK), ("2.36", COMPUTE | INJECTED),
     ("2.56", COMPUTE | INJECTED), ("2.57", COMPUTE)],
)  # fmt: skip
def test_quotas_in_each_version(world: World, version: str, limits: dict[str, int]) -> None:
    assert show(world, as_="reader", version=version) == limits | {"id": PROJECT}
    assert show(world, f"{SET}/defaults", as_="reader", version=version) == limits | {"id": PROJECT}
    detail = show(world, f"{SET}/detail", as_="reader", version=version)
    assert detail == {name: {"limit": limit, "in_use": 0, "reserved": 0} for name, limit in limits.items()} | {
        "id": PROJECT
    }
    assert world.call("PUT", SET, {"quota_set": {}}, version=version)["quota_set"] == limits


def test_quotas_of_a_project(worlds: World) -> None:
    worlds.add_server()
    changed = change(worlds, ram="5120", cores=-1, force=True)
    assert (changed["ram"], changed["cores"], changed["instances"]) == (5120, -1, 10)
    assert "id" not in changed
    detail = show(worlds, f"{SET}/detail")
    assert detail["ram"] == {"limit": 5120, "in_use": 512, "reserved": 0}
    assert detail["cores"]["in_use"] == 2
    assert show(worlds, f"{SET}/defaults")["ram"] == 51200
    assert show(worlds, f"/os-quota-sets/{OTHER_PROJECT}")["ram"] == 51200
    worlds.call("PUT", SET, {"quota_set": {"ram": 511}}, code=400)
    assert change(worlds, ram=511, force=True)["ram"] == 511
    assert change(worlds, ram=512)["ram"] == 512
    worlds.call("DELETE", SET, code=202)
    assert show(worlds)["ram"] == 51200


def test_quotas_of_a_user(worlds: World) -> None:
    worlds.add_server()
    worlds.add_server(user=READER)
    mine = f"{SET}?user_id={USER}"
    assert change(worlds, mine, ram=2048, instances=1)["ram"] == 2048
    assert change(worlds, mine, ram=1024)["ram"] == 1024
    assert show(worlds, mine)["instances"] == 1
    assert show(worlds, f"{SET}/detail?user_id={USER}")["instances"] == {"limit": 1, "in_use": 1, "reserved": 0}
    assert show(worlds)["ram"] == show(worlds, f"{SET}?user_id={READER}")["ram"] == 51200
    for refused in ({"ram": 51201}, {"ram": -1}, {"instances": 0}):
        worlds.call("PUT", mine, {"quota_set": refused}, code=400)
    worlds.call("PUT", f"{SET}?user_id={'u' * 65}", {"quota_set": {"ram": 1}}, code=400)
    worlds.call("DELETE", mine, code=202)
    assert show(worlds, mine)["ram"] == 51200
    change(worlds, mine, ram=2048)
    worlds.call("DELETE", SET, code=202)
    assert show(worlds, mine)["ram"] == 51200


def test_what_is_reserved_fits_the_project_and_the_user(worlds: World) -> None:
    actor = ACTORS["member"]

    def reserve(**wanted: int) -> None:
        worlds.db.transact(lambda tx: worlds.quotas.reserve(tx, actor, wanted))

    worlds.add_server()
    worlds.add_server(user=READER)
    change(worlds, instances=4, cores=8, force=True)
    reserve(instances=2, cores=4)
    with pytest.raises(OverLimit, match="Quota exceeded for instances: Requested 3, but already used 2 of 4 instances"):
        reserve(instances=3)
    with pytest.raises(OverLimit, match="for cores: Requested 5, but already used 4 of 8 cores"):
        reserve(instances=1, cores=5)
    change(worlds, f"{SET}?user_id={USER}", instances=2)
    reserve(instances=1, cores=2)
    with pytest.raises(OverLimit, match="Requested 2, but already used 1 of 2 instances"):
        reserve(instances=2)


@pytest.mark.parametrize(
    "values", [{"ram": -2}, {"ram": "much"}, {"ram": 1 << 31}, {"ram": None}, {"ram": 1.5}, {"colour": 1},
               {"fixed_ips": 1}, {"injected_files": 1}, {"force": "perhaps"}],
)  # fmt: skip
def test_bad_quotas(world: World, values: dict[str, Any]) -> None:
    world.call("PUT", SET, {"quota_set": values}, version="2.57", code=400)
    world.call("PUT", SET, {"quota_set": {}, "more": 1}, code=400)
    assert show(world)["ram"] == 51200


def test_quotas_of_projects_that_are_not_there(world: World) -> None:
    path = f"/os-quota-sets/{'d' * 32}"
    for method, where in (("GET", path), ("GET", f"{path}/detail"), ("GET", f"{path}/defaults"), ("PUT", path)):
        body = {"quota_set": {"ram": 1}} if method == "PUT" else None
        refusal = world.call(method, where, body, code=400)["badRequest"]["message"]
        assert refusal == f"Project ID {'d' * 32} is not a valid project."


def test_quotas_of_others(world: World) -> None:
    for path in (SET, f"{SET}/detail"):
        world.call("GET", path, as_="stranger", code=403)
    world.call("GET", f"{SET}/defaults", as_="stranger")
    world.call("PUT", SET, {"quota_set": {"ram": 1}}, as_="member", code=403)
    world.call("DELETE", SET, as_="member", code=403)
    world.call("GET", CLASS, as_="member", code=403)
    world.call("PUT", CLASS, {"quota_class_set": {"ram": 1}}, as_="member", code=403)
    world.call("GET", f"{SET}?colour=red", code=400)


@pytest.mark.parametrize(
    ("version", "limits"),
    [
        ("2.1", {name: COMPUTE[name] for name in list(COMPUTE)[:5]} | INJECTED | NETWORK),
        ("2.50", COMPUTE | INJECTED),
        ("2.57", COMPUTE),
    ],
)
def test_the_quota_class(world: World, version: str, limits: dict[str, int]) -> None:
    assert world.call("GET", CLASS, version=version)["quota_class_set"] == limits | {"id": "default"}
    more = {name: limit + 100 for name, limit in limits.items()}
    changed = world.call("PUT", CLASS, {"quota_class_set": more}, version=version)["quota_class_set"]
    assert changed == more
    assert world.call("GET", CLASS, version=version)["quota_class_set"] == more | {"id": "default"}
    assert show(world, version=version)["ram"] == 51300
    change(world, cores=1)
    assert (show(world)["cores"], show(world)["ram"]) == (1, 51300)


def test_there_is_one_quota_class(world: World) -> None:
    world.call("GET", "/os-quota-class-sets/gold", code=404)
    world.call("PUT", "/os-quota-class-sets/gold", {"quota_class_set": {}}, code=404)
    world.call("PUT", CLASS, {"quota_class_set": {"ram": -2}}, code=400)


LIMITS = {
    "maxTotalInstances": 10, "maxTotalCores": 20, "maxTotalRAMSize": 51200, "maxTotalKeypairs": 100,
    "maxServerMeta": 128, "maxServerGroups": 10, "maxServerGroupMembers": 10, "totalInstancesUsed": 1,
    "totalCoresUsed": 2, "totalRAMUsed": 512, "totalServerGroupsUsed": 0,
}  # fmt: skip
NETWORK_LIMITS = {
    "maxTotalFloatingIps": -1, "maxSecurityGroups": -1, "maxSecurityGroupRules": -1, "totalFloatingIpsUsed": 0,
    "totalSecurityGroupsUsed": 0,
}  # fmt: skip
IMAGE_LIMITS = {"maxImageMeta": 128}
FILE_LIMITS = {"maxPersonality": 5, "maxPersonalitySize": 10240}


@pytest.mark.parametrize(
    ("version", "limits"),
    [
        ("2.1", LIMITS | NETWORK_LIMITS | IMAGE_LIMITS | FILE_LIMITS),
        ("2.36", LIMITS | IMAGE_LIMITS | FILE_LIMITS),
        ("2.39", LIMITS | FILE_LIMITS),
        ("2.57", LIMITS),
    ],
)
def test_limits_in_each_version(world: World, version: str, limits: dict[str, int]) -> None:
    world.add_server()
    expected = {"limits": {"rate": [], "absolute": limits}}
    assert world.call("GET", "/limits", as_="reader", version=version) == expected
    assert world.call("GET", f"/limits?reserved=1&tenant_id={PROJECT}", as_="reader", version=version) == expected
    assert world.call("GET", f"/limits?tenant_id={PROJECT}", version=version) == expected


def test_limits_of_others(world: World) -> None:
    world.call("GET", f"/limits?tenant_id={PROJECT}", as_="stranger", code=403)
    for query in ("reserved=x", "colour=red"):
        world.call("GET", f"/limits?{query}", code=400)
    assert world.call("GET", "/limits", as_="stranger")["limits"]["absolute"]["totalInstancesUsed"] == 0


def test_limits_count_no_deleted_servers(worlds: World) -> None:
    worlds.add_server()
    server_id = worlds.add_server()
    worlds.db.transact(lambda tx: set_deleted(tx, server_id, worlds.clock.now()))
    absolute = worlds.call("GET", "/limits", as_="member")["limits"]["absolute"]
    assert (absolute["totalInstancesUsed"], absolute["totalCoresUsed"], absolute["totalRAMUsed"]) == (1, 2, 512)


def test_extensions(world: World) -> None:
    listed = world.call("GET", "/extensions", as_="reader")["extensions"]
    assert "os-keypairs" in {one["alias"] for one in listed}
    for one in listed:
        assert one["name"]
        assert world.call("GET", f"/extensions/{one['alias']}", as_="reader") == {"extension": one}
    world.call("GET", "/extensions/os-nothing", as_="reader", code=404)
