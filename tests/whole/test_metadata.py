"""What a guest may learn of itself follows what other services change, once the hosts have been told."""

import pytest

from pileus.agent.api import MetadataSpec
from pileus.kernel.ids import new_uuid
from tests.whole.conftest import Scene


def told(scene: Scene, server_id: str) -> MetadataSpec:
    """What the host knows of a server now."""
    spec = scene.world.machine.host.metadata.of(server_id)
    assert spec is not None
    return spec


def test_the_public_address_follows_the_floating_ip(anywhere: Scene) -> None:
    alice, server_id = anywhere.alice, anywhere.active()
    router = alice.router(anywhere.network["subnet"]["id"])
    (port,) = alice.ports(server_id)
    assert told(anywhere, server_id).public_ipv4 is None
    floating = alice.make("floatingip", floating_network_id=router["public"], port_id=port["id"])
    path = f"/network/v2.0/floatingips/{floating['id']}"
    address = floating["floating_ip_address"]
    expected = [address, None, address, None]
    anywhere.world.run()
    seen = [told(anywhere, server_id).public_ipv4]
    for port_id in (None, port["id"]):
        alice.ok("PUT", path, {"floatingip": {"port_id": port_id}})
        anywhere.world.run()
        seen.append(told(anywhere, server_id).public_ipv4)
    alice.ok("DELETE", path)
    anywhere.world.run()
    assert [*seen, told(anywhere, server_id).public_ipv4] == expected
    assert anywhere.world.audit() == []


def test_a_floating_ip_that_moves_to_another_server(here: Scene) -> None:
    servers = [here.active() for _ in range(2)]
    router = here.alice.router(here.network["subnet"]["id"])
    ports = [here.alice.ports(server_id)[0]["id"] for server_id in servers]
    floating = here.alice.make("floatingip", floating_network_id=router["public"], port_id=ports[0])
    address = floating["floating_ip_address"]
    here.world.run()
    assert [told(here, one).public_ipv4 for one in servers] == [address, None]
    here.alice.ok("PUT", f"/network/v2.0/floatingips/{floating['id']}", {"floatingip": {"port_id": ports[1]}})
    here.world.run()
    assert [told(here, one).public_ipv4 for one in servers] == [None, address]


def test_security_groups(here: Scene) -> None:
    alice, server_id = here.alice, here.active()
    group = alice.make("security_group", name="web")
    alice.act(server_id, "addSecurityGroup", {"name": "web"})
    here.world.run()
    assert told(here, server_id).security_groups == ("default", "web")
    path = f"/network/v2.0/security-groups/{group['id']}"
    alice.ok("PUT", path, {"security_group": {"name": "www"}})
    here.world.run()
    assert told(here, server_id).security_groups == ("default", "www")
    (port,) = alice.ports(server_id)
    alice.ok("PUT", f"/network/v2.0/ports/{port['id']}", {"port": {"security_groups": [group["id"]]}})
    here.world.run()
    assert told(here, server_id).security_groups == ("www",)


def test_addresses_and_what_the_network_is_like(here: Scene) -> None:
    alice, server_id = here.alice, here.active()
    (port,) = alice.ports(server_id)
    alice.ok("PUT", f"/network/v2.0/ports/{port['id']}", {"port": {"fixed_ips": [{"ip_address": "10.0.0.77"}]}})
    subnet = here.network["subnet"]["id"]
    alice.ok("PUT", f"/network/v2.0/subnets/{subnet}", {"subnet": {"dns_nameservers": ["10.9.9.9"]}})
    alice.ok("PUT", f"/network/v2.0/networks/{here.network['id']}", {"network": {"mtu": 1300}})
    here.world.run()
    spec = told(here, server_id)
    assert [one.ips for one in spec.addresses] == [("10.0.0.77",)]
    assert spec.addresses[0].mtu == 1300
    assert "10.9.9.9" in str(spec.network_data)


@pytest.mark.parametrize("how", ["port", "slaac"])
def test_ports_and_addresses_that_come_and_go(here: Scene, how: str) -> None:
    alice, server_id = here.alice, here.active()
    if how == "port":
        alice.ok("DELETE", f"/network/v2.0/ports/{alice.ports(server_id)[0]['id']}")
        here.world.run()
        assert told(here, server_id).addresses == ()
        return
    subnet = alice.make(
        "subnet",
        network_id=here.network["id"],
        cidr="fd00:1::/64",
        ip_version=6,
        ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
    )
    here.world.run()
    assert [len(one.ips) for one in told(here, server_id).addresses] == [2]
    alice.ok("DELETE", f"/network/v2.0/subnets/{subnet['id']}")
    here.world.run()
    assert [len(one.ips) for one in told(here, server_id).addresses] == [1]


def test_a_deleted_server_is_forgotten_with_its_floating_ip(here: Scene) -> None:
    server_id = here.active()
    router = here.alice.router(here.network["subnet"]["id"])
    (port,) = here.alice.ports(server_id)
    here.alice.make("floatingip", floating_network_id=router["public"], port_id=port["id"])
    here.world.run()
    here.alice.delete(server_id)
    here.world.run()
    assert here.world.machine.host.state().metadata == ()
    assert here.world.audit() == []


def test_a_password_that_the_guest_gave_to_keep(here: Scene) -> None:
    server_id = here.active()
    path = f"/compute/v2.1/servers/{server_id}/os-server-password"
    assert here.alice.ok("GET", path) == {"password": ""}
    assert here.world.give_password("h1", server_id, "encrypted") == 204
    assert here.world.give_password("h1", server_id, "another") == 409
    assert here.world.give_password("h1", new_uuid(), "another") == 404
    here.world.run()
    assert here.alice.ok("GET", path) == {"password": "encrypted"}
    assert told(here, server_id).password == "encrypted"
    assert here.world.member("bob").refused("GET", path)[0] == 404
    assert here.alice.call("DELETE", path).status_code == 204
    here.world.run()
    assert (here.alice.ok("GET", path), told(here, server_id).password) == ({"password": ""}, "")
    assert here.world.give_password("h1", server_id, "another") == 204
