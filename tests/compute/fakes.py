"""The neighbours of compute, small: a host that remembers what it was told, networks in one table of their own.

What the real services write in the caller's transaction, the fakes write there too, so that a crash or a rollback
leaves them as it would leave the real ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.agent.api import DisksSpec, GuestSpec, HostState, Inventory, PowerAction, PowerState
from pileus.compute.servers.neighbours import Agents
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound
from pileus.kernel.ids import new_uuid
from pileus.kernel.rpc import AgentRefused, AgentUnreachable
from pileus.kernel.signature import SIGNATURE, Signature
from pileus.network.domain import (
    PlannedNic,
    PortAddress,
    PortInfo,
    RequestedNic,
    SecurityGroup,
    SecurityGroupRef,
    Unplugged,
)

tables = sa.MetaData()
fake_port = sa.Table(
    "fake_port",
    tables,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("network_id", sa.String(36), nullable=False),
    sa.Column("server_id", sa.String(36), nullable=False),
    sa.Column("project_id", sa.String(36), nullable=False),
    sa.Column("host", sa.String(64), nullable=False),
    sa.Column("groups", sa.Text, nullable=False),
)

NETWORK = "11111111-1111-4111-8111-111111111111"
IMAGE = "22222222-2222-4222-8222-222222222222"
GROUPS = {"default": "33333333-3333-4333-8333-333333333333", "web": "44444444-4444-4444-8444-444444444444"}


@dataclass
class FakeHost:
    """A registered host and what its agent has made.

    Keyed by verb and first part of a path: `refusing` holds refusal kinds, `meanwhile` what happens once while the next
    such request is on its way.
    """

    name: str
    up: bool = True
    enabled: bool = True
    availability_zone: str = "nova"
    booted_at: int = 0
    inventory: Inventory = field(
        default_factory=lambda: Inventory(
            host="h",
            hypervisor_type="fake",
            hypervisor_version=1,
            arch="x86_64",
            cpu_model="fake",
            vcpus=64,
            memory_mb=1 << 20,
            memory_mb_used=0,
            disk_gb=10_000,
            disk_gb_free=10_000,
            host_ip="127.0.0.1",
        )
    )
    guests: dict[str, PowerState] = field(default_factory=dict)
    specs: dict[str, GuestSpec] = field(default_factory=dict)
    disks: dict[str, DisksSpec] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    taps: set[str] = field(default_factory=set)
    refusing: dict[str, str] = field(default_factory=dict)
    meanwhile: dict[str, Callable[[], object]] = field(default_factory=dict)
    silent: bool = False
    calls: list[str] = field(default_factory=list)

    def state(self) -> HostState:
        """As the agent would report it."""
        return HostState(
            guests=dict(self.guests),
            disks=tuple(self.disks),
            taps=tuple(self.taps),
            metadata=tuple(self.metadata),
        )


class FakeHosts:
    """The registry, and the agents of its hosts."""

    def __init__(self, *hosts: FakeHost) -> None:
        self.by_name = {host.name: host for host in hosts}

    def all(self, _tx: Tx) -> list[FakeHost]:
        return list(self.by_name.values())

    def get(self, _tx: Tx | None, name: str) -> FakeHost:
        if name not in self.by_name:
            raise NotFound(f"Compute host {name} could not be found.")
        return self.by_name[name]

    def call(
        self, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        there = self.get(None, host)
        if there.silent:
            raise AgentUnreachable(f"The agent of host {host} does not answer.")
        kind, _, thing = path.lstrip("/").partition("/")
        there.calls.append(f"{verb} {kind}")
        if refusal := there.refusing.get(f"{verb} {kind}"):
            raise AgentRefused(refusal, f"refused: {refusal}", transient=False)
        if happens := there.meanwhile.pop(f"{verb} {kind}", None):
            happens()
        answer: dict[str, Any] = getattr(self, f"_{verb.lower()}_{kind}")(there, thing, body)
        return answer

    def _put_metadata(self, host: FakeHost, server: str, body: Any) -> dict[str, Any]:
        host.metadata[server] = body
        return {}

    def _delete_metadata(self, host: FakeHost, server: str, _body: Any) -> dict[str, Any]:
        host.metadata.pop(server, None)
        return {}

    def _put_disks(self, host: FakeHost, server: str, body: Any) -> dict[str, Any]:
        if body.config_drive and server not in host.metadata:
            raise AgentRefused("invalid", "a config drive needs the metadata", transient=False)
        host.disks[server] = body
        return {"disks": []}

    def _delete_disks(self, host: FakeHost, server: str, _body: Any) -> dict[str, Any]:
        host.disks.pop(server, None)
        return {}

    def _put_guests(self, host: FakeHost, server: str, body: GuestSpec) -> dict[str, Any]:
        if server not in host.disks or any(nic.port_id not in host.taps for nic in body.nics):
            raise AgentRefused("not-found", "the guest's disks or taps are not there", transient=False)
        host.specs[server] = body
        host.guests[server] = PowerState.RUNNING if body.running else PowerState.SHUTDOWN
        return {"power_state": host.guests[server]}

    def _delete_guests(self, host: FakeHost, server: str, _body: Any) -> dict[str, Any]:
        host.guests.pop(server, None)
        host.specs.pop(server, None)
        return {}

    def _post_guests(self, host: FakeHost, thing: str, body: PowerAction) -> dict[str, Any]:
        server = thing.removesuffix("/power")
        if server not in host.guests:
            raise AgentRefused("not-found", "no such guest", transient=False)
        host.guests[server] = PowerState.SHUTDOWN if body.action == "stop" else PowerState.RUNNING
        return {"power_state": host.guests[server]}

    def _get_guests(self, host: FakeHost, thing: str, _body: Any) -> dict[str, Any]:
        server, _, query = thing.partition("/console")
        lines = [f"line {number} of {server}" for number in range(10)]
        if query:
            lines = lines[-int(query.removeprefix("?length=")) :]
        return {"output": "\n".join(lines)}


class FakeNetworks:
    """One network whose addresses follow the order of the ports."""

    def __init__(self, defaults: Sequence[str] = (NETWORK,)) -> None:
        self.defaults = list(defaults)
        self.ports = FakePorts()
        self.security_groups = FakeGroups()

    def check_requested(
        self, _tx: Tx, _actor: Actor, requested: Sequence[RequestedNic], servers: int = 1
    ) -> list[PlannedNic]:
        for nic in requested:
            if nic.port_id is None and nic.network_id != NETWORK:
                raise BadRequest(f"Network {nic.network_id} could not be found.")
        return [
            PlannedNic(
                network_id=nic.network_id or NETWORK,
                port_id=nic.port_id or new_uuid(),
                fixed_ip=nic.fixed_ip,
                existing=nic.port_id is not None,
                tag=nic.tag,
            )
            for nic in requested
        ]

    def default_networks(self, _tx: Tx, _actor: Actor) -> list[Any]:
        return [msgspec.structs.replace(_Id(id=""), id=one) for one in self.defaults]

    def resolve_security_groups(self, _tx: Tx, _actor: Actor, names: Sequence[str]) -> list[SecurityGroupRef]:
        for name in names:
            if name not in GROUPS:
                raise BadRequest(f"Unable to find security_group with name or id '{name}'")
        return [SecurityGroupRef(GROUPS[name], name) for name in names]

    def plug(
        self,
        tx: Tx,
        *,
        port: PlannedNic,
        server_id: str,
        server_name: str,
        project_id: str,
        host: str,
        availability_zone: str,
        security_group_ids: Sequence[str],
    ) -> None:
        if tx.one(sa.select(fake_port.c.id).where(fake_port.c.id == port.port_id)) is None:
            tx.execute(
                sa.insert(fake_port).values(
                    id=port.port_id,
                    network_id=port.network_id,
                    server_id=server_id,
                    project_id=project_id,
                    host=host,
                    groups=",".join(security_group_ids),
                )
            )

    def unplug(self, tx: Tx, server_id: str) -> list[Unplugged]:
        rows = tx.all(sa.select(fake_port).where(fake_port.c.server_id == server_id))
        tx.execute(sa.delete(fake_port).where(fake_port.c.server_id == server_id))
        return [Unplugged(port_id=row.id, network_id=row.network_id, host=row.host) for row in rows]

    def server_ports(self, tx: Tx, server_ids: Sequence[str]) -> dict[str, list[PortInfo]]:
        found: dict[str, list[PortInfo]] = {}
        for row in tx.all(_PORTS, {"ids": list(server_ids)}):
            found.setdefault(row.server_id, []).append(_port_info(row))
        return found

    def wire(self, agents: Agents, host: str, server_id: str, *, again: bool = False) -> None:
        assert isinstance(agents, FakeHosts)
        there = agents.by_name[host]
        if there.silent:
            raise AgentUnreachable(f"The agent of host {host} does not answer.")
        if refusal := there.refusing.get("PUT ports"):
            raise AgentRefused(refusal, f"refused: {refusal}", transient=False)
        with self.db.read() as tx:
            there.taps.update(port.id for port in self.server_ports(tx, [server_id]).get(server_id, []))

    def unwire(self, agents: Agents, host: str, ports: Sequence[Unplugged]) -> None:
        assert isinstance(agents, FakeHosts)
        there = agents.by_name[host]
        if there.silent:
            raise AgentUnreachable(f"The agent of host {host} does not answer.")
        with self.db.read() as tx:
            plugged = {row.id for row in tx.all(sa.select(fake_port.c.id))}
        there.taps.difference_update(port.port_id for port in ports if port.port_id not in plugged)

    def settle(self, hosts: FakeHosts) -> None:
        """What the network's loop does in time: hosts drop the taps of ports that are plugged no more."""
        with self.db.read() as tx:
            plugged = {row.id for row in tx.all(sa.select(fake_port.c.id))}
        for host in hosts.by_name.values():
            host.taps &= plugged

    def network_data(self, _tx: Tx, server_id: str) -> dict[str, Any]:
        return {"links": [], "networks": [], "services": [], "server": server_id}

    db: Any = None


class FakePorts:
    """Ports by themselves."""

    def find(self, tx: Tx, port_id: str) -> Any:
        row = tx.one(sa.select(fake_port).where(fake_port.c.id == port_id))
        assert row is not None
        return _Port(row.id, tuple(one for one in row.groups.split(",") if one))

    def update(self, tx: Tx, port: Any, attributes: Any) -> Any:
        groups = ",".join(attributes["security_groups"])
        tx.execute(sa.update(fake_port).where(fake_port.c.id == port.id).values(groups=groups))
        return self.find(tx, port.id)


class FakeGroups:
    """Security groups without rules."""

    def get(self, _tx: Tx, _actor: Actor, group_id: str) -> Any:
        names = {one: name for name, one in GROUPS.items()}
        return SecurityGroup(group_id, "p", names[group_id], "", (), 0, 0, 0)


class _Port(msgspec.Struct, frozen=True):
    id: str
    security_groups: tuple[str, ...]


class _Id(msgspec.Struct, frozen=True):
    id: str


_PORTS = (
    sa.select(fake_port)
    .where(fake_port.c.server_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(fake_port.c.number)
)


def _port_info(row: Any) -> PortInfo:
    number = row.number
    names = {group_id: name for name, group_id in GROUPS.items()}
    return PortInfo(
        id=row.id,
        server_id=row.server_id,
        network_id=row.network_id,
        network_name="private",
        project_id=row.project_id,
        mac=f"fa:16:3e:00:{number // 256:02x}:{number % 256:02x}",
        mtu=1450,
        status="ACTIVE",
        host=row.host,
        port_security_enabled=True,
        addresses=(
            PortAddress(
                ip=f"10.0.{number // 250}.{number % 250 + 2}",
                subnet_id=NETWORK,
                version=4,
                cidr="10.0.0.0/16",
                gateway="10.0.0.1",
                dns=(),
            ),
        ),
        security_groups=tuple(SecurityGroupRef(one, names[one]) for one in row.groups.split(",") if one),
    )


class FakeImage(msgspec.Struct, kw_only=True):
    id: str = IMAGE
    status: str = "active"
    disk_format: str | None = "qcow2"
    container_format: str | None = "bare"
    size: int | None = 20 << 20
    virtual_size: int | None = 64 << 20
    min_disk: int = 0
    min_ram: int = 0
    os_hash_algo: str | None = "sha512"
    os_hash_value: str | None = "feed"
    properties: dict[str, str] = {}


class FakeImages:
    def __init__(self, *images: FakeImage) -> None:
        self.by_id = {image.id: image for image in images or (FakeImage(),)}

    def get(self, _tx: Tx, _actor: Actor, image_id: str) -> FakeImage:
        if image_id not in self.by_id:
            raise NotFound(f"No image found with ID {image_id}")
        return self.by_id[image_id]

    def signature(self, image: Any, trusted: Sequence[str] = ()) -> Signature | None:
        if SIGNATURE not in image.properties:
            return None
        return Signature(
            signature=image.properties[SIGNATURE],
            hash_method="SHA-256",
            key_type="RSA-PSS",
            certificate="PEM",
            trusted=tuple(trusted),
        )


class FakeFlavor(msgspec.Struct, kw_only=True):
    flavorid: str = "1"
    name: str = "m1.tiny"
    vcpus: int = 1
    ram: int = 128
    disk: int = 1
    ephemeral: int = 0
    swap: int = 0
    extra_specs: dict[str, str] = {}


class FakeFlavors:
    def __init__(self, *flavors: FakeFlavor) -> None:
        self.by_id = {flavor.flavorid: flavor for flavor in flavors or (FakeFlavor(),)}

    def get(self, _tx: Tx, _actor: Actor, flavor_ref: str) -> FakeFlavor:
        if flavor_ref not in self.by_id:
            raise NotFound(f"Flavor {flavor_ref} could not be found.")
        return self.by_id[flavor_ref]


class FakeKeypair(msgspec.Struct):
    name: str
    public_key: str


class FakeKeypairs:
    def get(self, _tx: Tx, user_id: str, name: str) -> FakeKeypair:
        if name != "mine":
            raise NotFound(f"Keypair {name} not found for user {user_id}")
        return FakeKeypair(name, "ssh-ed25519 AAAA me")


class FakeProjects:
    """Every project there may be."""

    def find(self, _tx: Tx, project_id: str) -> object | None:
        return project_id
