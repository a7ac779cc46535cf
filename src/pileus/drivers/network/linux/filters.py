"""The security groups of this host: what of the rules is in the kernel, and keeping it so.

Everything lives in two tables: one of the bridge family with the rules, one of the inet family that finds the
connections' states. One lock, because the kernel takes one transaction at a time anyway.
"""

import threading

import msgspec

from pileus.agent.api import AddressSetSpec, NetworkSpec, PortSpec
from pileus.drivers.network.linux import nft, rules
from pileus.drivers.network.linux.journal import Journal
from pileus.drivers.network.linux.names import Names, short
from pileus.drivers.network.linux.nft import Json, Table, equal, has_state, meta, payload


class NetworkEntry(msgspec.Struct, frozen=True):
    """A network as journaled. `zone` keeps its connections apart from other networks' with the same addresses;
    it is 0, the host's own, for external networks: the host takes part in their connections (NAT)."""

    spec: NetworkSpec
    zone: int


class Filters:
    """Brings journaled networks, ports and address sets into the kernel, one transaction per change."""

    def __init__(
        self,
        names: Names,
        networks: Journal[NetworkEntry],
        ports: Journal[PortSpec],
        sets: Journal[AddressSetSpec],
    ) -> None:
        self._names = names
        self._networks, self._ports, self._sets = networks, ports, sets
        self._table = Table("bridge", names.filter_table)
        self._state = Table("inet", names.state_table)
        self._lock = threading.RLock()
        self._generation: int | None = None  # the ruleset's, if it was ours when last seen; None: look
        self._known = False  # whether the next three are true of the kernel
        self._chains: set[str] = set()  # of ports and networks
        self._declared: set[str] = set()  # ids of address sets
        self._written: dict[str, PortSpec] = {}  # filtered ports

    # --- changes --------------------------------------------------------------------------------------------

    def ensure_network(self, network_id: str) -> None:
        """Track the connections of the journaled network."""
        with self._lock:
            if not self._synchronise():
                self._commit(self._network_commands(self._networks.all()[network_id]))

    def ensure_no_network(self, network_id: str) -> None:
        """Stop tracking; the journal has forgotten the network already."""
        with self._lock:
            if self._synchronise() or f"zone-{short(network_id)}" not in self._chains:
                return
            bridge, chain = self._names.bridge(network_id), f"zone-{short(network_id)}"
            commands = [self._state.delete_elements("zones", [bridge])]
            for name in ("bridges", "tenants"):
                commands += self._state.elements(name, [bridge])  # deleting what is not there would fail
                commands.append(self._state.delete_elements(name, [bridge]))
            self._commit([*commands, self._state.flush_chain(chain), self._state.delete_chain(chain)])
            self._chains.discard(chain)

    def ensure_port(self, port_id: str) -> None:
        """Make the journaled port's filters true."""
        with self._lock:
            spec = self._ports.all()[port_id]
            if not self._synchronise() and self._written.get(port_id) != spec:
                self._commit([*self._port_commands(spec), *self._unused_sets()])

    def ensure_no_port(self, port_id: str) -> None:
        """Remove the port's filters; the journal has forgotten the port already."""
        with self._lock:
            if not self._synchronise():
                tap = self._names.tap(port_id)
                commands = self._unfilter(port_id)
                commands += self._table.elements("isolated", [tap])
                commands.append(self._table.delete_elements("isolated", [tap]))
                self._commit([*commands, *self._unused_sets()])

    def ensure_set(self, set_id: str) -> None:
        """Make the journaled address set's members true."""
        with self._lock:
            if not self._synchronise():
                self._commit(rules.set_commands(self._table, self._sets.all()[set_id]))
                self._declared.add(set_id)

    def ensure_no_set(self, set_id: str) -> None:
        """Empty the set, which the journal has forgotten, or remove it if no rule names it."""
        with self._lock:
            if self._synchronise() or set_id not in self._declared:
                return
            emptied = rules.set_commands(self._table, AddressSetSpec(id=set_id))
            self._commit([*emptied, *self._unused_sets()])

    def verify(self) -> bool:
        """Put back what somebody else removed. Cheap if nobody changed any rules; answers whether it was needed."""
        with self._lock:
            return self._synchronise()

    def forget(self) -> None:
        """Count nothing as present any more: the tables were removed."""
        with self._lock:
            self._known = False

    # --- the kernel's side ----------------------------------------------------------------------------------

    def _commit(self, commands: list[Json]) -> None:
        """Apply; after a refusal what is in the kernel counts as unknown, and the next change writes all anew."""
        before = nft.generation()
        known, self._known = self._known, False
        nft.apply(commands)
        self._known = known
        now = nft.generation()
        self._generation = now if now == before + 1 else None

    def _synchronise(self) -> bool:
        """Have the kernel's rules be the journal's; answer whether all were written anew."""
        current = nft.generation()
        if self._known and current == self._generation:
            return False
        if not self._known:
            self._rebuild()
            return True
        present = {(o["table"], o["name"]) for kind, o in nft.listing("chains") if kind == "chain"}
        table, state = self._names.filter_table, self._names.state_table
        expected = {(state if c.startswith("zone-") else table, c) for c in self._chains}
        expected |= {(table, "forward"), (table, "prerouting"), (state, "states")}
        if expected <= present:
            self._generation = current
            return False
        self._rebuild()
        return True

    def _rebuild(self) -> None:
        """All rules anew in one transaction: traffic sees the old rules or the new ones, never none."""
        self._chains, self._declared, self._written = set(), set(), {}
        commands = self._base_commands()
        for entry in self._networks.all().values():
            commands += self._network_commands(entry)
        for spec in self._sets.all().values():
            commands += rules.set_commands(self._table, spec)
            self._declared.add(spec.id)
        for port in self._ports.all().values():
            commands += self._port_commands(port)
        self._known = True
        self._commit(commands)

    def _base_commands(self) -> list[Json]:
        table, state = self._table, self._state
        commands = [c for t in (table, state) for c in (t.add(), t.delete(), t.add())]
        commands += [table.verdict_map(kind, "ifname") for kind in ("spoof", "egress", "ingress")]
        commands += rules.shared_commands(table)
        commands += [table.set("isolated", "ifname"), state.verdict_map("zones", "ifname")]
        commands += [state.set("bridges", "ifname"), state.set("tenants", "ifname")]
        source, destination = meta("iifname"), meta("oifname")
        commands += [
            table.base_chain("prerouting", "prerouting", -300),
            table.rule("prerouting", _through(source, "spoof")),
            table.base_chain("forward", "forward", -200),
            table.rule("forward", _through(source, "egress")),
            table.rule("forward", _through(destination, "ingress")),
            # A guest reaches the host itself on external networks only, there under its security groups.
            table.base_chain("input", "input", -200),
            table.rule("input", equal(source, "@isolated"), nft.DROP),
            table.rule("input", _through(source, "egress")),
            table.base_chain("output", "output", -200),
            table.rule("output", _through(destination, "ingress")),
            state.base_chain("tracking", "prerouting", -300),
            state.rule("tracking", _through(source, "zones")),
            state.base_chain("states", "prerouting", -150),
            state.base_chain("host_states", "output", -150),
        ]
        for chain, side in (("states", source), ("host_states", destination)):
            bridged = equal(side, "@bridges")
            expelled = equal({"ct": {"key": "mark"}}, rules.EXPELLED)
            commands += [
                state.rule(chain, bridged, has_state("established", "related"), _set_mark(rules.ESTABLISHED)),
                state.rule(chain, bridged, has_state("invalid"), _set_mark(rules.INVALID)),
                state.rule(chain, bridged, expelled, _set_mark(rules.INVALID)),
            ]
        return commands + self._untranslated_commands()

    def _untranslated_commands(self) -> list[Json]:
        """Keep the host's own address translation from tenants' frames, which pass the same hooks: an address
        replaced by itself before anybody else's turn counts as translated."""
        state, commands = self._state, []
        for chain, hook, priority, side, kind, field in (
            ("untranslated_in", "prerouting", -110, "iifname", "dnat", "daddr"),
            ("untranslated_out", "postrouting", 90, "oifname", "snat", "saddr"),
        ):
            commands.append(state.base_chain(chain, hook, priority, kind="nat"))
            for family in ("ip", "ip6"):
                itself = {kind: {"family": family, "addr": payload(family, field)}}
                commands.append(state.rule(chain, equal(meta(side), "@tenants"), itself))
        return commands

    def _network_commands(self, entry: NetworkEntry) -> list[Json]:
        bridge, chain = self._names.bridge(entry.spec.id), f"zone-{short(entry.spec.id)}"
        self._chains.add(chain)
        commands = [self._state.chain(chain), self._state.flush_chain(chain)]
        if entry.zone:
            commands.append(self._state.rule(chain, {"mangle": {"key": {"ct": {"key": "zone"}}, "value": entry.zone}}))
        commands += self._state.elements("zones", [[bridge, {"jump": {"target": chain}}]])
        if not entry.spec.external:
            commands += self._state.elements("tenants", [bridge])
        return commands + self._state.elements("bridges", [bridge])

    def _port_commands(self, spec: PortSpec) -> list[Json]:
        tap = self._names.tap(spec.id)
        commands = self._table.elements("isolated", [tap])
        network = self._networks.get(spec.network_id)
        if network is not None and network.spec.external:
            commands.append(self._table.delete_elements("isolated", [tap]))
        if not spec.filtered:
            return commands + self._unfilter(spec.id)
        self._chains.update(rules.chain_names(spec.id).values())
        self._written[spec.id] = spec
        self._declared |= rules.set_references(spec)
        return commands + rules.port_commands(self._table, spec, tap)

    def _unfilter(self, port_id: str) -> list[Json]:
        chains = set(rules.chain_names(port_id).values())
        if not chains & self._chains:
            return []
        self._chains -= chains
        self._written.pop(port_id, None)
        return rules.no_port_commands(self._table, port_id, self._names.tap(port_id))

    def _unused_sets(self) -> list[Json]:
        """Remove the sets that are neither described nor named by a port's rules."""
        unused = self._declared - self._sets.all().keys()
        for port in self._written.values():
            unused -= rules.set_references(port)
        self._declared -= unused
        return [command for set_id in sorted(unused) for command in rules.no_set_commands(self._table, set_id)]


def _set_mark(value: int) -> Json:
    return {"mangle": {"key": meta("mark"), "value": value}}


def _through(key: Json, verdict_map: str) -> Json:
    return {"vmap": {"key": key, "data": f"@{verdict_map}"}}
