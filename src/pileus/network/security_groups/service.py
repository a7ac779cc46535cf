"""Rules of security groups."""

import ipaddress
from collections.abc import Collection, Sequence
from typing import Any

from pileus.kernel import quota
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict
from pileus.network import models, rows
from pileus.network.domain import Attributes, SecurityGroup, SecurityGroupRef, SecurityGroupRule
from pileus.network.errors import bad_attribute, in_use, not_found
from pileus.network.lists import ListRequest
from pileus.network.quotas import SERVICE, Quotas
from pileus.network.security_groups import protocols, store
from pileus.network.sync.marks import Marker

DEFAULT = "default"
_ETHERTYPES = ("IPv4", "IPv6")
_DIRECTIONS = ("ingress", "egress")
_MATCH = ("direction", "ethertype", "port_range_min", "port_range_max", "remote_group_id")


class SecurityGroupService:
    """Shows, creates, changes and deletes security groups and rules; gives every project its default group."""

    listing = store.LISTING
    rule_listing = store.RULE_LISTING

    def __init__(self, clock: Clock, quotas: Quotas, marker: Marker) -> None:
        self._clock = clock
        self._quotas = quotas
        self._marker = marker

    def get(self, tx: Tx, actor: Actor, group_id: str) -> SecurityGroup:
        """A security group that the caller may see. NotFound else."""
        return store.get(tx, actor, group_id)

    def page(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[SecurityGroup], bool]:
        """One page of security groups, and whether there are more."""
        return store.page(tx, actor, request)

    def get_rule(self, tx: Tx, actor: Actor, rule_id: str) -> SecurityGroupRule:
        """A rule that the caller may see. NotFound else."""
        return store.get_rule(tx, actor, rule_id)

    def page_rules(self, tx: Tx, actor: Actor, request: ListRequest) -> tuple[list[SecurityGroupRule], bool]:
        """One page of rules, and whether there are more."""
        return store.page_rules(tx, actor, request)

    # --- the default group --------------------------------------------------------------------------------------

    def has_default(self, tx: Tx, project_id: str) -> bool:
        """Whether the project's default group has been made."""
        return store.default_of(tx, project_id) is not None

    def ensure_default(self, tx: Tx, project_id: str) -> str:
        """The project's default group, made when first needed: everything out, and in from members of the group."""
        found = store.default_of(tx, project_id)
        if found is not None:
            return found
        quota.lock(tx, project_id, SERVICE)
        found = store.default_of(tx, project_id)
        if found is not None:
            return found
        group = self._insert(tx, project_id, {"name": DEFAULT, "description": "Default security group"}, own=True)
        store.make_default(tx, project_id, group.id)
        return group.id

    # --- groups -------------------------------------------------------------------------------------------------

    def create(self, tx: Tx, project_id: str, attributes: Attributes) -> SecurityGroup:
        """Make a group that lets everything out and nothing in."""
        self.ensure_default(tx, project_id)
        if attributes.get("name") == DEFAULT:
            raise _default_exists()
        self._quotas.reserve(tx, project_id, security_group=1)
        return self._insert(tx, project_id, attributes, own=False)

    def _insert(self, tx: Tx, project_id: str, attributes: Attributes, *, own: bool) -> SecurityGroup:
        now = self._clock.now()
        values = rows.standard(project_id, attributes, now)
        store.insert(tx, values)
        rules = [
            self._rule_values(project_id, {}, now)
            | {"security_group_id": values["id"], "direction": direction, "ethertype": ethertype}
            | ({"remote_group_id": values["id"]} if direction == "ingress" else {})
            for ethertype in _ETHERTYPES
            for direction in (_DIRECTIONS if own else ("egress",))
        ]
        store.insert_rules(tx, rules)
        return SecurityGroup(**values, rules=tuple(SecurityGroupRule(**rule) for rule in rules))

    def update(self, tx: Tx, actor: Actor, group: SecurityGroup, attributes: Attributes) -> SecurityGroup:
        """Rename or describe a group. The default group keeps its name, and no other takes it."""
        if "name" in attributes and attributes["name"] != group.name:
            if store.is_default(tx, group.id):
                raise in_use("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
            if attributes["name"] == DEFAULT:
                raise _default_exists()
        rows.change(tx, models.security_group, group.id, self._clock.now(), attributes)
        changed = store.get(tx, actor, group.id)
        if changed.name != group.name:
            self._marker.servers.group(tx, group.id)
        return changed

    def delete(self, tx: Tx, actor: Actor, group: SecurityGroup) -> None:
        """Delete a group that no port is in. Rules of other groups that name it go too."""
        if store.in_use(tx, group.id):
            raise in_use("SecurityGroupInUse", f"Security Group {group.id} in use.")
        if not actor.is_admin and store.is_default(tx, group.id):
            raise in_use(
                "SecurityGroupCannotRemoveDefault",
                f"Insufficient rights for removing default security group {group.id}.",
            )
        naming = store.groups_naming(tx, group.id)
        store.delete(tx, group.id)
        for other in naming:
            if other != group.id:
                self._marker.group_rules(tx, other, [group.id])

    # --- rules --------------------------------------------------------------------------------------------------

    def create_rule(self, tx: Tx, actor: Actor, project_id: str, attributes: Attributes) -> SecurityGroupRule:
        """Add a rule to a group. SecurityGroupRuleExists if the group has one that matches the same."""
        group = store.get(tx, actor, attributes["security_group_id"])
        values = self._checked(tx, actor, project_id, attributes)
        self._quotas.reserve(tx, project_id, security_group_rule=1)
        rule = SecurityGroupRule(**values)
        for other in store.rules_of(tx, [group.id]):
            if _same(rule, other):
                raise Conflict(
                    f"Security group rule already exists. Rule id is {other.id}.", kind="SecurityGroupRuleExists"
                )
        store.insert_rules(tx, [values])
        self._marker.group_rules(tx, group.id, [rule.remote_group_id])
        return rule

    def update_rule(self, tx: Tx, actor: Actor, rule: SecurityGroupRule, attributes: Attributes) -> SecurityGroupRule:
        """Change a rule's description: nothing else of a rule can be changed."""
        rows.change(tx, models.security_group_rule, rule.id, self._clock.now(), attributes)
        return store.get_rule(tx, actor, rule.id)

    def delete_rule(self, tx: Tx, rule: SecurityGroupRule) -> None:
        """Remove a rule."""
        self._marker.group_rules(tx, rule.security_group_id, [rule.remote_group_id])
        rows.remove(tx, models.security_group_rule, rule.id)

    def _checked(self, tx: Tx, actor: Actor, project_id: str, attributes: Attributes) -> dict[str, Any]:
        ethertype = protocols.check_choice("ethertype", attributes.get("ethertype") or "IPv4", _ETHERTYPES)
        direction = protocols.check_choice("direction", attributes["direction"], _DIRECTIONS)
        protocol = protocols.canonical(attributes.get("protocol"), ethertype)
        protocols.check_ethertype(protocol, ethertype)
        low, high = attributes.get("port_range_min"), attributes.get("port_range_max")
        protocols.check_range(protocol, low, high)
        prefix, remote = attributes.get("remote_ip_prefix"), attributes.get("remote_group_id")
        if prefix is not None and remote is not None:
            raise BadRequest(
                "Only remote_ip_prefix or remote_group_id may be provided.",
                kind="SecurityGroupRemoteGroupAndRemoteIpPrefix",
            )
        if prefix is not None:
            prefix = _checked_prefix(prefix, ethertype)
        if remote is not None:
            store.get(tx, actor, remote)
        return self._rule_values(project_id, attributes, self._clock.now()) | {
            "security_group_id": attributes["security_group_id"],
            "direction": direction,
            "ethertype": ethertype,
            "protocol": protocol,
            "port_range_min": low,
            "port_range_max": high,
            "remote_ip_prefix": prefix,
            "remote_group_id": remote,
        }

    @staticmethod
    def _rule_values(project_id: str, attributes: Attributes, now: int) -> dict[str, Any]:
        return {
            **rows.standard(project_id, {"description": attributes.get("description") or ""}, now),
            "protocol": None,
            "port_range_min": None,
            "port_range_max": None,
            "remote_ip_prefix": None,
            "remote_group_id": None,
        }

    # --- for ports and compute ----------------------------------------------------------------------------------

    def check(self, tx: Tx, project_id: str, group_ids: Sequence[str]) -> tuple[str, ...]:
        """These groups, each once, if all are the project's. SecurityGroupNotFound names the first that is not."""
        wanted = tuple(dict.fromkeys(group_ids))
        if not wanted:
            return ()
        known = store.owned(tx, project_id, wanted)
        for group_id in wanted:
            if group_id not in known:
                raise not_found("security_group", group_id)
        return wanted

    def resolve(self, tx: Tx, project_id: str, wanted: Collection[str]) -> list[SecurityGroupRef]:
        """Groups by id or name, in the order asked for. BadRequest if there is none, Conflict if a name has several."""
        if DEFAULT in wanted:
            self.ensure_default(tx, project_id)
        found = store.named(tx, project_id, wanted)
        chosen: list[SecurityGroupRef] = []
        for word in dict.fromkeys(wanted):
            matches = [ref for ref in found if ref.id == word] or [ref for ref in found if ref.name == word]
            if not matches:
                raise BadRequest(f"Security group {word} not found for project {project_id}.")
            if len(matches) > 1:
                raise Conflict(
                    f"Multiple security groups found matching '{word}'. Use an ID to be more specific.",
                    kind="NoUniqueMatch",
                )
            if matches[0] not in chosen:
                chosen.append(matches[0])
        return chosen


def _default_exists() -> Conflict:
    return in_use("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")


def _checked_prefix(text: str, ethertype: str) -> str:
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as err:
        raise bad_attribute("remote_ip_prefix", f"'{text}' is not a valid CIDR") from err
    if f"IPv{interface.version}" != ethertype:
        raise BadRequest(
            f"Conflicting value ethertype {ethertype} for CIDR {text}", kind="SecurityGroupRuleParameterConflict"
        )
    return interface.with_prefixlen


def normalized(prefix: str | None) -> str | None:
    """A prefix with its host bits zero."""
    return None if prefix is None else str(ipaddress.ip_network(prefix, strict=False))


def _same(one: SecurityGroupRule, other: SecurityGroupRule) -> bool:
    return (
        all(getattr(one, name) == getattr(other, name) for name in _MATCH)
        and protocols.number(one.protocol) == protocols.number(other.protocol)
        and normalized(one.remote_ip_prefix) == normalized(other.remote_ip_prefix)
    )
