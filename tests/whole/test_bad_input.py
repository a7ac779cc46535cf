"""Requests that must be refused: clearly, in the service's own shape, and with nothing left behind."""

from collections.abc import Callable
from typing import Any

import pytest

from pileus.kernel.ids import new_uuid
from tests.whole.conftest import Scene, scene
from tests.world import Api, World

SERVERS = "/compute/v2.1/servers"


def refused(here: Scene, **fields: Any) -> tuple[int, str]:
    """Status and message of a server that is refused; afterwards there must be nothing of it."""
    version = fields.pop("version", None)
    body = {"server": {"name": "vm", **here.wanted(**fields)}}
    found = here.alice.refused("POST", SERVERS, body, version=version)
    here.world.run()
    assert here.alice.servers() == []
    assert here.nothing_left()
    return found


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"server": ', b"[]", b'"server"', b"null", b"\xff\xfe", b'{"server": null}', b'{"server": []}', b"{}"],
)
def test_malformed_documents(here: Scene, body: bytes) -> None:
    answer = here.alice.call("POST", SERVERS, body, Content_Type="application/json")
    assert (answer.status_code, list(answer.json)) == (400, ["badRequest"])
    for path, shape in (("/network/v2.0/networks", "NeutronError"), ("/identity/v3/projects", "error")):
        answer = here.world.admin.call("POST", path, body, Content_Type="application/json")
        assert (answer.status_code, list(answer.json)) == (400, [shape])
    if body != b"{}":
        assert here.world.admin.call("POST", "/image/v2/images", body).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"nonsense": 1},
        {"name": ""},
        {"name": 5},
        {"name": "x" * 256},
        {"flavorRef": None},
        {"imageRef": "not-a-uuid"},
        {"networks": "everywhere"},
        {"networks": [{"uuid": "x"}]},
        {"networks": [{"nonsense": "x"}]},
        {"metadata": {"a": 1}},
        {"metadata": {"a" * 256: "b"}},
        {"min_count": 0},
        {"min_count": "many"},
        {"min_count": 3, "max_count": 2},
        {"user_data": "not base64!"},
        {"user_data": "aGVs" * 20000},
        {"key_name": "no such key"},
        {"security_groups": [{"name": "no such group"}]},
        {"availability_zone": "nowhere"},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_fields_that_are_wrong(here: Scene, fields: dict[str, Any]) -> None:
    status, message = refused(here, **fields)
    assert status == 400
    assert message


def test_unknown_ids(here: Scene) -> None:
    nobody = new_uuid()
    for fields, words in (
        ({"imageRef": nobody}, nobody),
        ({"flavorRef": nobody}, nobody),
        ({"networks": [{"uuid": nobody}]}, nobody),
        ({"networks": [{"port": nobody}]}, nobody),
    ):
        status, message = refused(here, **fields)
        assert status == 400
        assert words in message
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/action")):
        assert here.alice.refused(method, f"{SERVERS}/{nobody}{path}", {"os-stop": None})[0] == 404


def test_what_belongs_to_others_is_not_there(here: Scene) -> None:
    alice, bob = here.alice, here.world.member("bob")
    server_id = here.active()
    port = alice.make("port", network_id=here.network["id"])
    before = here.world.machine.host.state()
    paths = [
        f"{SERVERS}/{server_id}",
        f"/network/v2.0/networks/{here.network['id']}",
        f"/network/v2.0/ports/{port['id']}",
        f"/image/v2/images/{here.image}",
    ]
    for path in paths:
        assert bob.call("GET", path).status_code == 404, path
        assert bob.call("DELETE", path).status_code == 404, path
    assert bob.refused("POST", f"{SERVERS}/{server_id}/action", {"os-stop": None})[0] == 404
    own = bob.network(name="bobs")
    wanted: dict[str, Any] = {"name": "x", "flavorRef": here.flavor, "imageRef": bob.image()}
    for fields in (
        {"imageRef": here.image, "networks": [{"uuid": own["id"]}]},
        {"networks": [{"uuid": here.network["id"]}]},
        {"networks": [{"port": port["id"]}]},
    ):
        assert bob.refused("POST", SERVERS, {"server": {**wanted, **fields}})[0] == 400
    here.world.run()
    assert bob.servers() == []
    assert here.world.machine.host.state() == before
    assert here.world.audit() == []


def test_a_port_that_is_in_use(here: Scene) -> None:
    port = here.alice.make("port", network_id=here.network["id"])
    server_id = here.active(networks=[{"port": port["id"]}])
    answer = here.alice.request_server(**here.wanted(networks=[{"port": port["id"]}]))
    assert answer.status_code == 409
    assert f"Port {port['id']} is still in use." in answer.text
    assert [server["id"] for server in here.alice.servers()] == [server_id]
    assert here.world.audit() == []


def test_two_servers_that_both_were_promised_a_port(here: Scene) -> None:
    port = here.alice.make("port", network_id=here.network["id"])
    first, second = (here.create(networks=[{"port": port["id"]}]) for _ in range(2))
    here.world.run()
    shown = here.alice.server(second)
    assert here.alice.server(first)["status"] == "ACTIVE"
    assert shown["status"] == "ERROR"
    assert f"Port {port['id']} is still in use." in shown["fault"]["message"]
    assert list(here.world.machine.host.state().guests) == [first]
    assert here.world.audit() == []


def test_an_address_that_is_taken(here: Scene) -> None:
    server_id = here.active()
    taken = here.alice.server(server_id)["addresses"]["net"][0]["addr"]
    for address in (taken, "10.9.9.9", "300.1.1.1"):
        nics = [{"uuid": here.network["id"], "fixed_ip": address}]
        answer = here.alice.request_server(**here.wanted(networks=nics))
        assert answer.status_code == 400, answer.text
        assert address in answer.text
    assert here.world.audit() == []


def test_names_that_mean_two_things(here: Scene) -> None:
    alice = here.alice
    for _ in range(2):
        alice.make("security_group", name="twin")
    answer = alice.request_server(**here.wanted(security_groups=[{"name": "twin"}]))
    assert answer.status_code == 409
    assert "twin" in answer.text
    alice.network(name="second", cidr="10.1.0.0/24")
    fields = here.wanted()
    del fields["networks"]
    assert alice.request_server(**fields).status_code == 409
    here.world.run()
    assert alice.servers() == []
    assert here.nothing_left()


@pytest.mark.parametrize(
    ("setting", "value", "fields"),
    [
        ("compute.quota_instances", 2, {"min_count": 3}),
        ("compute.quota_cores", 2, {"min_count": 3}),
        ("compute.quota_ram", 128, {"min_count": 3}),
        ("network.quota_port", 2, {"min_count": 3}),
        ("compute.quota_metadata_items", 1, {"metadata": {"a": "b", "c": "d"}}),
    ],
)
def test_over_quota(make_world: Callable[..., World], setting: str, value: int, fields: dict[str, Any]) -> None:
    here = scene(make_world(settings={setting: value}))
    status, message = refused(here, **fields)
    assert status == 403
    assert message


@pytest.mark.parametrize(
    ("setting", "value"),
    [("compute.quota_instances", 3), ("network.quota_port", 4)],  # DHCP's port counts too
)
def test_as_many_as_the_quota_lets(make_world: Callable[..., World], setting: str, value: int) -> None:
    here = scene(make_world(settings={setting: value}))
    here.create(min_count=2, max_count=5)
    here.world.run()
    assert [server["status"] for server in here.alice.servers()] == ["ACTIVE"] * 3
    assert here.world.audit() == []


def test_a_port_quota_that_was_used_up_after_the_request(make_world: Callable[..., World]) -> None:
    here = scene(make_world(settings={"network.quota_port": 2}))
    first, second = here.create(), here.create()
    here.world.run()
    shown = {server["id"]: server for server in here.alice.servers()}
    assert shown[first]["status"] == "ACTIVE"
    assert shown[second]["status"] == "ERROR"
    assert list(here.world.machine.host.state().guests) == [first]
    assert here.world.audit() == []


def test_too_many_of_a_network(here: Scene) -> None:
    tight = here.alice.network(name="tight", cidr="10.7.0.0/29")
    servers = [here.create(networks=[{"uuid": tight["id"]}]) for _ in range(6)]
    here.world.run()
    statuses = [here.alice.server(server_id)["status"] for server_id in servers]
    assert statuses == ["ACTIVE"] * 4 + ["ERROR"] * 2
    assert here.world.audit() == []


def test_without_a_token(here: Scene) -> None:
    nobody = Api(here.world.client, "nonsense", "", "")
    for path in (SERVERS, "/network/v2.0/networks", "/image/v2/images", "/identity/v3/projects"):
        answer = nobody.call("GET", path)
        assert answer.status_code == 401, path
        assert "WWW-Authenticate" in answer.headers
