"""The servers API: what is shown to whom in which version, and what is refused how."""

import base64
from typing import Any

import pytest

from pileus.kernel.db import Database
from pileus.kernel.signature import SIGNATURE
from tests.compute.fakes import IMAGE, NETWORK, FakeFlavor, FakeImage
from tests.compute.world import PROJECT, World


@pytest.fixture
def world(sqlite: Database) -> World:
    return World(sqlite)


def test_create_answers_as_nova_does(world: World) -> None:
    body = {"server": {"name": "vm", "imageRef": IMAGE, "flavorRef": 1, "adminPass": "secret"}}
    answer = world.request("POST", "/servers", body)
    server = answer.json["server"]
    assert answer.status_code == 202
    assert answer.headers["location"] == f"http://cloud/compute/v2.1/servers/{server['id']}"
    assert answer.headers["x-compute-request-id"] == answer.headers["x-openstack-request-id"]
    assert server == {
        "id": server["id"],
        "links": [
            {"rel": "self", "href": f"http://cloud/compute/v2.1/servers/{server['id']}"},
            {"rel": "bookmark", "href": f"http://cloud/compute/servers/{server['id']}"},
        ],
        "OS-DCF:diskConfig": "AUTO",
        "security_groups": [{"name": "default"}],
        "adminPass": "secret",
    }


@pytest.mark.parametrize(
    ("fields", "version", "status", "words"),
    [
        ({"name": ""}, "2.1", 400, "name"),
        ({"name": 12345}, "2.1", 400, "name"),
        ({"name": "a" * 256}, "2.1", 400, "name"),
        ({"name": " vm"}, "2.1", 400, "name"),
        ({"imageRef": -1}, "2.1", 400, "imageRef"),
        ({"imageRef": NETWORK}, "2.1", 400, "Can not find requested image"),
        ({"flavorRef": -1}, "2.1", 400, "Flavor -1 could not be found"),
        ({"key_name": "nobody's"}, "2.1", 400, "Invalid key_name provided"),
        ({"networks": [{"uuid": "a-b-c"}]}, "2.1", 400, "Bad networks format"),
        ({"networks": [{"uuid": IMAGE}]}, "2.1", 400, "could not be found"),
        ({"networks": "auto"}, "2.36", 400, "networks"),
        ({"networks": [{"uuid": NETWORK, "tag": "nic1"}]}, "2.31", 400, "tag"),
        ({"security_groups": [{"name": "nothing"}]}, "2.1", 400, "security_group"),
        ({"accessIPv4": "1.1.1.1.1.1"}, "2.1", 400, "accessIPv4"),
        ({"accessIPv6": "notvalid"}, "2.1", 400, "accessIPv6"),
        ({"metadata": {"": "x"}}, "2.1", 400, "metadata"),
        ({"metadata": {"a": "b" * 260}}, "2.1", 400, "metadata"),
        ({"metadata": {f"key{n}": "x" for n in range(129)}}, "2.1", 403, "metadata items"),
        ({"user_data": "!!"}, "2.1", 400, "base64"),
        ({"user_data": "A" * 65540}, "2.1", 400, "longer"),
        ({"min_count": 0}, "2.1", 400, "min_count"),
        ({"max_count": 2.5}, "2.1", 400, "max_count"),
        ({"min_count": 3, "max_count": 2}, "2.1", 400, "min_count"),
        ({"min_count": 11}, "2.1", 403, "Quota exceeded for instances"),
        ({"description": "x"}, "2.18", 400, "description"),
        ({"availability_zone": "nova:h1"}, "2.1", 403, "forced_host"),
        ({"availability_zone": "moon"}, "2.1", 400, "availability zone"),
        ({"personality": [{"path": "/x", "contents": "not base64!"}]}, "2.1", 400, "base64"),
        ({"personality": []}, "2.57", 400, "personality"),
        ({"block_device_mapping_v2": [{"source_type": "volume", "uuid": IMAGE, "boot_index": 0}]}, "2.1", 400, "Block"),
        ({"trusted_image_certificates": [], "networks": "auto"}, "2.63", 400, "certificates"),
        ({"trusted_image_certificates": ["a"], "networks": "auto"}, "2.63", 400, "is not signed"),
        ({"unknown": 1}, "2.1", 400, "unknown"),
    ],
)
def test_create_refuses(world: World, fields: dict[str, Any], version: str, status: int, words: str) -> None:
    body = {"server": {"name": "vm", "imageRef": IMAGE, "flavorRef": "1", **fields}}
    answer = world.request("POST", "/servers", body, version=version)
    assert answer.status_code == status
    (error,) = answer.json.values()
    assert error["code"] == status
    assert words in error["message"]
    assert world.request("GET", "/servers").json == {"servers": []}
    assert world.audit() == []


def _disks_of(world: World, server_id: str) -> Any:
    (spec,) = [host.disks[server_id] for host in world.hosts.by_name.values() if server_id in host.disks]
    return spec


def test_signed_images_reach_the_host_with_what_must_be_borne_out(world: World) -> None:
    kernel = "22222222-2222-4333-8444-555555555555"
    world.images.by_id = {
        IMAGE: FakeImage(properties={SIGNATURE: "c2ln", "kernel_id": kernel}),
        kernel: FakeImage(id=kernel, disk_format="aki", container_format="aki"),
    }
    server = {"name": "vm", "imageRef": IMAGE, "flavorRef": "1", "networks": "none"}
    made = world.request("POST", "/servers", {"server": server}, version="2.63").json["server"]["id"]
    world.run()
    spec = _disks_of(world, made)
    assert spec.image.signature.signature == "c2ln"
    assert spec.image.signature.trusted == ()
    assert spec.kernel.signature is None
    assert world.request("GET", f"/servers/{made}", version="2.63").json["server"]["trusted_image_certificates"] is None
    server["trusted_image_certificates"] = ["ca"]
    assert "is not signed" in world.request("POST", "/servers", {"server": server}, version="2.63").text
    world.images.by_id[IMAGE].properties.pop("kernel_id")
    made = world.request("POST", "/servers", {"server": server}, version="2.63").json["server"]["id"]
    world.run()
    assert _disks_of(world, made).image.signature.trusted == ("ca",)
    shown = world.request("GET", f"/servers/{made}", version="2.63").json["server"]
    assert shown["trusted_image_certificates"] == ["ca"]


def test_flavors_too_small_for_the_image_are_refused(world: World) -> None:
    world.images.by_id = {IMAGE: FakeImage(min_ram=512)}
    body = {"server": {"name": "vm", "imageRef": IMAGE, "flavorRef": "1"}}
    assert "memory is too small" in world.request("POST", "/servers", body).text
    world.images.by_id = {IMAGE: FakeImage(min_disk=2)}
    assert "disk is smaller" in world.request("POST", "/servers", body).text
    world.images.by_id = {IMAGE: FakeImage(virtual_size=2 << 30)}
    assert "disk is too small" in world.request("POST", "/servers", body).text
    world.images.by_id = {IMAGE: FakeImage(status="queued")}
    assert "is not active" in world.request("POST", "/servers", body).text
    world.images.by_id = {IMAGE: FakeImage()}
    world.flavors.by_id["1"] = FakeFlavor(disk=0)
    assert world.request("POST", "/servers", body).status_code == 403
    assert world.request("POST", "/servers", body, as_="admin").status_code == 202


def test_several_servers_in_one_request(world: World) -> None:
    body = {"server": {"name": "vm", "imageRef": IMAGE, "flavorRef": "1", "min_count": 2, "max_count": 3}}
    body["server"]["return_reservation_id"] = True
    reservation = world.request("POST", "/servers", body).json["reservation_id"]
    world.run()
    found = world.request("GET", f"/servers/detail?reservation_id={reservation}").json["servers"]
    assert sorted(server["name"] for server in found) == ["vm-1", "vm-2", "vm-3"]
    assert {server["status"] for server in found} == {"ACTIVE"}
    body["server"] |= {"min_count": 5, "max_count": 20}
    reservation = world.request("POST", "/servers", body).json["reservation_id"]
    found = world.request("GET", f"/servers?reservation_id={reservation}").json["servers"]
    assert len(found) == 7  # as many as the quota of ten allows
    world.run()
    assert world.audit() == []


@pytest.mark.parametrize(
    "how",
    [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/ips"),
        ("GET", "/metadata"),
        ("GET", "/os-instance-actions"),
        ("GET", "/os-interface"),
        ("GET", "/os-security-groups"),
    ],
)
def test_servers_of_other_projects_do_not_exist(world: World, how: tuple[str, str]) -> None:
    server_id = world.active()
    method, path = how
    body = {"server": {"name": "mine"}} if method == "PUT" else None
    answer = world.request(method, f"/servers/{server_id}{path}", body, as_="stranger")
    assert answer.status_code == 404
    assert list(answer.json) == ["itemNotFound"]
    assert world.act(server_id, "os-stop", as_="stranger").status_code == 404
    assert world.request("GET", "/servers", as_="stranger").json == {"servers": []}


def test_readers_only_read(world: World) -> None:
    server_id = world.active()
    assert world.request("GET", f"/servers/{server_id}", as_="reader").status_code == 200
    assert world.request("DELETE", f"/servers/{server_id}", as_="reader").status_code == 403
    assert world.act(server_id, "os-stop", as_="reader").status_code == 403
    assert world.request("GET", "/servers?all_tenants=1", as_="reader").status_code == 403
    assert world.request("GET", "/servers", as_="nobody").status_code == 401


def test_fields_appear_with_their_versions(world: World) -> None:
    server_id = world.active(version="2.37", networks="auto")
    first = world.show(server_id, as_="member")
    assert first["flavor"] == {
        "id": "1",
        "links": [{"rel": "bookmark", "href": "http://cloud/compute/flavors/1"}],
    }
    assert not {"locked", "description", "tags", "OS-EXT-SRV-ATTR:host"} & set(first)
    assert first["progress"] == 0
    assert first["security_groups"] == [{"name": "default"}]
    middle = world.show(server_id, as_="member", version="2.47")
    assert middle["flavor"]["original_name"] == "m1.tiny"
    assert (middle["locked"], middle["description"], middle["tags"]) == (False, None, [])
    last = world.show(server_id, as_="member", version="2.100")
    assert last["OS-EXT-SRV-ATTR:hostname"] == "vm"
    assert last["image"]["properties"]["disk_format"] == "qcow2"
    assert (last["pinned_availability_zone"], last["scheduler_hints"], last["server_groups"]) == (None, {}, [])
    admin = world.show(server_id, version="2.16")
    assert (admin["OS-EXT-SRV-ATTR:host"], admin["host_status"]) == ("h1", "UP")
    assert world.request("GET", "/servers", version="2.101").status_code == 406


def test_update(world: World) -> None:
    server_id = world.create()
    body = {"server": {"name": "new", "accessIPv6": "2001:db8:0::1", "description": None}}
    answer = world.request("PUT", f"/servers/{server_id}", body, version="2.19")
    assert answer.status_code == 200
    assert answer.json["server"]["accessIPv6"] == "2001:db8::1"
    assert "key_name" not in answer.json["server"]
    answer = world.request("PUT", f"/servers/{server_id}", {"server": {"name": "newer"}}, version="2.75")
    assert answer.json["server"]["key_name"] is None
    assert world.request("PUT", f"/servers/{server_id}", {"server": {"name": ""}}).status_code == 400


def test_metadata(world: World) -> None:
    server_id = world.active(metadata={"a": "1"})
    path = f"/servers/{server_id}/metadata"
    assert world.request("POST", path, {"metadata": {"b": "2"}}).json == {"metadata": {"a": "1", "b": "2"}}
    world.run()
    assert world.hosts.by_name["h1"].metadata[server_id].metadata == {"a": "1", "b": "2"}
    assert world.request("PUT", path, {"metadata": {"c": "3"}}).json == {"metadata": {"c": "3"}}
    assert world.request("PUT", f"{path}/d", {"meta": {"d": "4"}}).json == {"meta": {"d": "4"}}
    assert world.request("PUT", f"{path}/d", {"meta": {"e": "4"}}).status_code == 400
    assert world.request("GET", f"{path}/d").json == {"meta": {"d": "4"}}
    assert world.request("DELETE", f"{path}/d").status_code == 204
    assert world.request("DELETE", f"{path}/d").status_code == 404
    assert world.request("GET", path).json == {"metadata": {"c": "3"}}
    too_many = {f"k{number}": "v" for number in range(129)}
    assert world.request("PUT", path, {"metadata": too_many}).status_code == 403
    assert world.request("PUT", path, {"meta": {"a": "b"}}).status_code == 400
    building = world.create()
    assert world.request("POST", f"/servers/{building}/metadata", {"metadata": {"b": "2"}}).status_code == 409


def test_tags(world: World) -> None:
    server_id = world.create(tags=["x"], networks="auto", version="2.52")
    path = f"/servers/{server_id}/tags"
    new = world.request("PUT", f"{path}/y", version="2.26")
    assert (new.status_code, new.headers["location"]) == (201, f"http://cloud/compute/v2.1{path}/y")
    assert world.request("PUT", f"{path}/y", version="2.26").status_code == 204
    assert world.request("GET", path, version="2.26").json == {"tags": ["x", "y"]}
    assert world.request("GET", f"{path}/x", version="2.26").status_code == 204
    assert world.request("GET", path, version="2.25").status_code == 404
    for query, count in (
        ("tags=x,y", 1),
        ("tags=x,z", 0),
        ("tags-any=z,x", 1),
        ("not-tags=x", 0),
        ("not-tags-any=z", 1),
    ):
        assert len(world.request("GET", f"/servers?{query}", version="2.26").json["servers"]) == count, query
    assert world.request("DELETE", f"{path}/x", version="2.26").status_code == 204
    assert world.request("PUT", path, {"tags": ["p", "q"]}, version="2.26").json == {"tags": ["p", "q"]}
    assert world.request("PUT", path, {"tags": ["a/b"]}, version="2.26").status_code == 400
    assert world.request("PUT", path, {"tags": [f"t{n}" for n in range(51)]}, version="2.26").status_code == 400
    assert world.request("DELETE", path, version="2.26").status_code == 204
    assert world.request("GET", path, version="2.26").json == {"tags": []}


def test_locks(world: World) -> None:
    server_id = world.active()
    assert world.act(server_id, "lock", {"locked_reason": "mine"}, version="2.73").status_code == 202
    assert world.show(server_id, version="2.73")["locked_reason"] == "mine"
    assert world.act(server_id, "os-stop").status_code == 409
    assert world.request("DELETE", f"/servers/{server_id}").status_code == 409
    assert world.act(server_id, "unlock").status_code == 202
    assert world.act(server_id, "lock", as_="admin").status_code == 202
    assert world.act(server_id, "unlock").status_code == 409
    assert world.act(server_id, "os-stop", as_="admin").status_code == 202
    assert len(world.request("GET", "/servers?locked=true", version="2.73").json["servers"]) == 1


def test_other_actions(world: World) -> None:
    server_id = world.active()
    output = world.act(server_id, "os-getConsoleOutput", {"length": 2})
    assert output.json == {"output": f"line 8 of {server_id}\nline 9 of {server_id}"}
    assert world.act(server_id, "os-getConsoleOutput", {}).json["output"].count("\n") == 9
    assert world.act(server_id, "addSecurityGroup", {"name": "web"}).status_code == 202
    assert world.act(server_id, "addSecurityGroup", {"name": "nothing"}).status_code == 404
    groups = world.request("GET", f"/servers/{server_id}/os-security-groups").json["security_groups"]
    assert [group["name"] for group in groups] == ["default", "web"]
    assert world.act(server_id, "removeSecurityGroup", {"name": "default"}).status_code == 202
    assert world.act(server_id, "removeSecurityGroup", {"name": "default"}).status_code == 404
    assert world.show(server_id)["security_groups"] == [{"name": "web"}]
    assert world.act(server_id, "os-resetState", {"state": "error"}).status_code == 403
    assert world.act(server_id, "os-resetState", {"state": "error"}, as_="admin").status_code == 202
    assert world.show(server_id)["status"] == "ERROR"
    assert world.act(server_id, "os-resetState", {"state": "invalid"}, as_="admin").status_code == 400
    assert world.act(server_id, "os-resetState", {"state": "active"}, as_="admin").status_code == 202
    assert world.act(server_id, "restore").status_code == 409
    assert world.act(server_id, "dance").status_code == 400
    assert world.act(server_id, "forceDelete").status_code == 202
    world.run()
    assert world.act(server_id, "os-start").status_code == 404
    unplaced = world.create()
    assert world.act(unplaced, "os-getConsoleOutput", {}).status_code == 409


def test_history(world: World) -> None:
    server_id = world.active()
    world.act(server_id, "reboot", {"type": "HARD"})
    world.run()
    path = f"/servers/{server_id}/os-instance-actions"
    actions = world.request("GET", path).json["instanceActions"]
    assert [one["action"] for one in actions] == ["reboot", "create"]
    assert "updated_at" not in actions[0]
    shown = world.request("GET", f"{path}/{actions[1]['request_id']}", version="2.51").json["instanceAction"]
    assert [event["event"] for event in shown["events"]] == [
        "conductor_schedule_and_build_instances",
        "compute_allocate_network",
        "compute_prepare_disks",
        "compute__do_build_and_run_instance",
    ]
    assert {event["result"] for event in shown["events"]} == {"Success"}
    assert "traceback" not in shown["events"][0]
    assert "events" not in world.request("GET", f"{path}/{actions[1]['request_id']}").json["instanceAction"]
    paged = world.request("GET", f"{path}?limit=1", version="2.58").json
    assert [one["action"] for one in paged["instanceActions"]] == ["reboot"]
    following = paged["links"][0]["href"].removeprefix("http://cloud/compute/v2.1")
    assert [one["action"] for one in world.request("GET", following, version="2.58").json["instanceActions"]] == [
        "create"
    ]
    world.request("DELETE", f"/servers/{server_id}")
    world.run()
    assert len(world.request("GET", path, version="2.21").json["instanceActions"]) == 3
    assert world.request("GET", path, version="2.20").status_code == 404


def test_ports_and_addresses(world: World) -> None:
    server_id = world.active()
    (attachment,) = world.request("GET", f"/servers/{server_id}/os-interface").json["interfaceAttachments"]
    assert (attachment["net_id"], "tag" in attachment) == (NETWORK, False)
    one = world.request("GET", f"/servers/{server_id}/os-interface/{attachment['port_id']}", version="2.70")
    assert one.json["interfaceAttachment"]["tag"] is None
    assert world.request("GET", f"/servers/{server_id}/os-interface/{IMAGE}").status_code == 404
    addresses = world.request("GET", f"/servers/{server_id}/ips").json["addresses"]
    assert world.request("GET", f"/servers/{server_id}/ips/private").json == addresses
    assert set(addresses["private"][0]) == {"addr", "version"}
    assert world.request("GET", f"/servers/{server_id}/ips/other").status_code == 404


def test_user_data_is_for_administrators(world: World) -> None:
    data = base64.b64encode(b"#!/bin/sh").decode()
    server_id = world.create(user_data=data)
    assert world.show(server_id, version="2.3")["OS-EXT-SRV-ATTR:user_data"] == data
    assert "OS-EXT-SRV-ATTR:user_data" not in world.show(server_id, as_="member", version="2.3")


def test_version_documents(world: World) -> None:
    versions = world.client.simulate_get("/compute").json["versions"]
    (current,) = [one for one in versions if one["status"] == "CURRENT"]
    assert (current["min_version"], current["version"]) == ("2.1", "2.100")
    assert world.client.simulate_get("/compute/v2.1").json["version"]["id"] == "v2.1"
    assert current["links"][0]["href"].endswith("/compute/v2.1/")


def test_deleted_servers_are_seen_through_changes(world: World) -> None:
    server_id = world.active()
    world.request("DELETE", f"/servers/{server_id}")
    world.run()
    assert world.request("GET", "/servers").json["servers"] == []
    (gone,) = world.request("GET", "/servers/detail?changes-since=2020-01-01T00:00:00Z").json["servers"]
    assert (gone["id"], gone["status"], gone["tenant_id"]) == (server_id, "DELETED", PROJECT)
    assert world.request("GET", "/servers?status=deleted").status_code == 403
    assert len(world.request("GET", "/servers?status=deleted&all_tenants=1", as_="admin").json["servers"]) == 1
    assert len(world.request("GET", "/servers?deleted=true&all_tenants=1", as_="admin").json["servers"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "version"),
    [
        ("POST", "/servers", {"server": {"name": "vm\n"}}, "2.1"),
        ("POST", "/servers", {"server": {"hostname": "vm\n"}}, "2.90"),
        ("POST", "/servers", {"server": {"hostname": "vm.cloud\n"}}, "2.94"),
        ("POST", "/servers", {"server": {"metadata": {"key\n": "value"}}}, "2.1"),
        ("POST", "/servers", {"server": {"availability_zone": "nova:h1\n"}}, "2.1"),
        ("PUT", "/servers/{}", {"server": {"name": "vm\n"}}, "2.1"),
    ],
)
def test_a_newline_at_the_end_is_not_let_through(
    world: World, method: str, path: str, body: dict[str, Any], version: str
) -> None:
    server_id = world.create()
    if method == "POST":
        networks = {"networks": "none"} if version != "2.1" else {}
        body = {"server": {"name": "vm", "imageRef": IMAGE, "flavorRef": "1", **networks, **body["server"]}}
    answer = world.request(method, path.format(server_id), body, version=version, as_="admin")
    assert answer.status_code == 400, answer.text
