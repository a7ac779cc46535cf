"""What servers need of other services. The real ones satisfy these protocols, and so do the tests' fakes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.signature import Signature
from pileus.network.domain import (
    PlannedNic,
    Port,
    PortInfo,
    RequestedNic,
    SecurityGroup,
    SecurityGroupRef,
    Unplugged,
)
from pileus.scheduler.service import KnownHost


class Agents(Protocol):
    """Reaches the agents of all hosts: `kernel.rpc.Agents`."""

    def call(
        self, host: str, verb: str, path: str, body: msgspec.Struct | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """Ask an agent and give its answer. AgentUnreachable or AgentRefused."""
        ...


class Image(Protocol):
    """What is read of an image. Sizes: `size` and `virtual_size` bytes, `min_disk` GiB, `min_ram` MiB."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def disk_format(self) -> str | None: ...
    @property
    def container_format(self) -> str | None: ...
    @property
    def size(self) -> int | None: ...
    @property
    def virtual_size(self) -> int | None: ...
    @property
    def min_disk(self) -> int: ...
    @property
    def min_ram(self) -> int: ...
    @property
    def os_hash_algo(self) -> str | None: ...
    @property
    def os_hash_value(self) -> str | None: ...
    @property
    def properties(self) -> Mapping[str, str]: ...


class Images(Protocol):
    """The image service."""

    def get(self, tx: Tx, actor: Actor, image_id: str) -> Image:
        """An image that the actor may see; NotFound else."""
        ...

    def signature(self, image: Image, trusted: Sequence[str] = ()) -> Signature | None:
        """What the bytes of an image that says it is signed must bear out. BadRequest if that cannot be known."""
        ...


class Flavor(Protocol):
    """What is read of a flavor. Sizes: `ram` and `swap` MiB, `disk` and `ephemeral` GiB."""

    @property
    def flavorid(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def vcpus(self) -> int: ...
    @property
    def ram(self) -> int: ...
    @property
    def disk(self) -> int: ...
    @property
    def ephemeral(self) -> int: ...
    @property
    def swap(self) -> int: ...
    @property
    def extra_specs(self) -> Mapping[str, str]: ...


class Flavors(Protocol):
    """The flavors."""

    def get(self, tx: Tx, actor: Actor, flavor_ref: str) -> Flavor:
        """A flavor that the actor may use; NotFound else."""
        ...


class Keypair(Protocol):
    """What is read of a key pair."""

    @property
    def name(self) -> str: ...
    @property
    def public_key(self) -> str: ...


class Keypairs(Protocol):
    """The key pairs."""

    def get(self, tx: Tx, user_id: str, name: str) -> Keypair:
        """A user's key pair; NotFound else."""
        ...


class Hosts(Protocol):
    """The registry of hosts."""

    def all(self, tx: Tx) -> Sequence[KnownHost]:
        """All hosts."""
        ...

    def get(self, tx: Tx, name: str) -> KnownHost:
        """One host; NotFound else."""
        ...


class HasId(Protocol):
    """A thing with an id."""

    @property
    def id(self) -> str: ...


class Ports(Protocol):
    """Ports, as far as compute changes them besides plugging."""

    def find(self, tx: Tx, port_id: str) -> Port:
        """A port. NotFound."""
        ...

    def update(self, tx: Tx, port: Port, attributes: Mapping[str, Any]) -> Port:
        """Change a port; `attributes` under Neutron's names."""
        ...


class SecurityGroups(Protocol):
    """Security groups, as far as compute shows them."""

    def get(self, tx: Tx, actor: Actor, group_id: str) -> SecurityGroup:
        """A group that the actor may see. NotFound."""
        ...


class Networks(Protocol):
    """The network service's face for compute."""

    @property
    def ports(self) -> Ports: ...
    @property
    def security_groups(self) -> SecurityGroups: ...

    def check_requested(
        self, tx: Tx, actor: Actor, requested: Sequence[RequestedNic], servers: int = 1
    ) -> list[PlannedNic]:
        """The interfaces of one server, checked and with their ports' ids minted, where `servers` like it are to be
        made. BadRequest, Conflict or Forbidden."""
        ...

    def default_networks(self, tx: Tx, actor: Actor) -> Sequence[HasId]:
        """The networks that a server gets where none is asked for."""
        ...

    def resolve_security_groups(self, tx: Tx, actor: Actor, names_or_ids: Sequence[str]) -> list[SecurityGroupRef]:
        """Groups by name or id. BadRequest if unknown, Conflict if ambiguous."""
        ...

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
    ) -> Any:
        """Make or take over a port, and bind it to the host."""
        ...

    def unplug(self, tx: Tx, server_id: str) -> list[Unplugged]:
        """Delete or release a server's ports. Accepts a server that has none."""
        ...

    def server_ports(self, tx: Tx, server_ids: Sequence[str]) -> dict[str, list[PortInfo]]:
        """The ports of servers; a server without ports may be left out."""
        ...

    def wire(self, agents: Agents, host: str, server_id: str, *, again: bool = False) -> None:
        """Make the host carry what the server's ports need. `again`: also what it carried before (it was restarted)."""
        ...

    def unwire(self, agents: Agents, host: str, ports: Sequence[Unplugged]) -> None:
        """Make the host carry the ports no longer. They must be unplugged."""
        ...

    def network_data(self, tx: Tx, server_id: str) -> dict[str, Any]:
        """network_data.json of a server."""
        ...
