"""What Nova once did with security groups, done by the network service: ingress only, always with a source."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlencode

from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.http import Query
from pileus.network.domain import SecurityGroup, SecurityGroupRule
from pileus.network.service import Networks

_WITH_PORTS = frozenset({"tcp", "udp"})
_ALL_PORTS = (1, 65535)
ANY = -1
"""Any port, or ICMP type or code."""


class KnownGroups(Protocol):
    """Who knows security groups: the network service's `security_groups`."""

    def get(self, tx: Tx, actor: Actor, group_id: str) -> SecurityGroup:
        """A group that the actor may see. NotFound."""
        ...


class SecurityGroups:
    """Groups and rules as Nova's API speaks of them. Methods run in the caller's transaction."""

    def __init__(self, networks: Networks) -> None:
        self._groups = networks.security_groups

    def ready(self, tx: Tx, actor: Actor) -> bool:
        """Whether the actor's project has its default group already."""
        return self._groups.has_default(tx, actor.owner)

    def prepare(self, tx: Tx, actor: Actor) -> None:
        """Make the default group of the actor's project."""
        self._groups.ensure_default(tx, actor.owner)

    def all(self, tx: Tx, actor: Actor, *, all_projects: bool) -> list[SecurityGroup]:
        """The groups of the actor's project, or for administrators of all projects."""
        only = "" if all_projects and actor.is_admin else urlencode({"project_id": actor.owner})
        return self._groups.page(tx, actor, self._groups.listing.parse(Query(only)))[0]

    def get(self, tx: Tx, actor: Actor, group_id: str) -> SecurityGroup:
        """A group that the actor may see. NotFound."""
        return self._groups.get(tx, actor, group_id)

    def names(self, tx: Tx, actor: Actor, groups: Sequence[SecurityGroup]) -> dict[str, str]:
        """The names of the groups that rules of these groups name as their source."""
        return remote_names(tx, self._groups, actor, groups)

    def create(self, tx: Tx, actor: Actor, name: str, description: str) -> SecurityGroup:
        """Make a group. BadRequest if it would be a second default group."""
        with _conflicts_as_bad_requests():
            return self._groups.create(tx, actor.owner, {"name": name, "description": description})

    def update(self, tx: Tx, actor: Actor, group: SecurityGroup, changes: Mapping[str, str]) -> SecurityGroup:
        """Rename or describe a group. BadRequest if the default group would be renamed."""
        with _conflicts_as_bad_requests():
            return self._groups.update(tx, actor, group, changes)

    def delete(self, tx: Tx, actor: Actor, group: SecurityGroup) -> None:
        """Delete a group. BadRequest if it is in use, or the default group."""
        with _conflicts_as_bad_requests():
            self._groups.delete(tx, actor, group)

    def rule(self, tx: Tx, actor: Actor, rule_id: str) -> SecurityGroupRule:
        """A rule that the actor may see. NotFound."""
        return self._groups.get_rule(tx, actor, rule_id)

    def create_rule(
        self,
        tx: Tx,
        actor: Actor,
        group: SecurityGroup,
        *,
        protocol: str | None,
        ports: tuple[int | None, int | None],
        cidr: str | None,
        source_id: str | None,
    ) -> SecurityGroupRule:
        """Let traffic into a group, from addresses (all, if neither they nor a source group are given) or from a group.
        BadRequest if the group has such a rule, or if it says too little."""
        low, high = _ports(protocol, ports, from_group=source_id is not None)
        prefix = None if source_id is not None else cidr or "0.0.0.0/0"
        attributes = {
            "security_group_id": group.id,
            "direction": "ingress",
            "ethertype": "IPv4" if prefix is None else _ethertype(prefix),
            "protocol": protocol,
            "port_range_min": low,
            "port_range_max": high,
            "remote_ip_prefix": prefix,
            "remote_group_id": source_id,
        }
        with _conflicts_as_bad_requests():
            return self._groups.create_rule(tx, actor, group.project_id, attributes)

    def delete_rule(self, tx: Tx, rule: SecurityGroupRule) -> None:
        """Remove a rule."""
        self._groups.delete_rule(tx, rule)


def remote_names(tx: Tx, known: KnownGroups, actor: Actor, groups: Sequence[SecurityGroup]) -> dict[str, str]:
    """Id -> name of the groups that rules of `groups` name as their source, as far as the actor may see them."""
    names = {group.id: group.name for group in groups}
    for remote in {rule.remote_group_id for group in groups for rule in group.rules} - {None, *names}:
        try:
            names[str(remote)] = known.get(tx, actor, str(remote)).name
        except NotFound:
            continue
    return names


def _ports(
    protocol: str | None, ports: tuple[int | None, int | None], *, from_group: bool
) -> tuple[int | None, int | None]:
    """The range to open. A source group may leave it open, addresses may not."""
    if None not in ports and protocol:
        low, high = (None if port == ANY else port for port in ports)
        return low, high
    if not from_group:
        raise BadRequest("Not enough parameters to build a valid rule.")
    return _ALL_PORTS if protocol and protocol.lower() in _WITH_PORTS else (None, None)


def _ethertype(cidr: str) -> str:
    try:
        return f"IPv{ipaddress.ip_interface(cidr).version}"
    except ValueError as err:
        raise BadRequest(f"Invalid cidr {cidr}") from err


@contextmanager
def _conflicts_as_bad_requests() -> Iterator[None]:
    try:
        yield
    except Conflict as err:
        raise BadRequest(err.message) from err
