"""nftables by its JSON form: values stay data and are never part of a command's text.

A transaction is a list of commands that the kernel applies as a whole or not at all.
"""

import ipaddress
import json
import socket
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pileus.drivers.network.base import HostCommandFailed
from pileus.drivers.network.linux.namespaces import run_in

Json = dict[str, Any]
_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
ACCEPT: Json = {"accept": None}
DROP: Json = {"drop": None}
RETURN: Json = {"return": None}


def meta(key: str) -> Json:
    return {"meta": {"key": key}}


def payload(protocol: str, name: str) -> Json:
    return {"payload": {"protocol": protocol, "field": name}}


def concat(*parts: Any) -> Json:
    return {"concat": list(parts)}


def equal(left: Any, right: Any) -> Json:
    return {"match": {"op": "==", "left": left, "right": right}}


def differs(left: Any, right: Any) -> Json:
    return {"match": {"op": "!=", "left": left, "right": right}}


def among(left: Any, values: Iterable[Any]) -> Json:
    """`left` is one of the values; there must be one at least."""
    return equal(left, {"set": list(values)})


def outside(left: Any, values: Iterable[Any]) -> Json:
    """`left` is none of the values; there must be one at least."""
    return differs(left, {"set": list(values)})


def has_state(*states: str) -> Json:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(states)}}


def prefix(network: str) -> Any:
    """An address or CIDR as an element. ValueError if it is neither."""
    parsed = ipaddress.ip_network(network, strict=False)
    if parsed.prefixlen == parsed.max_prefixlen:
        return str(parsed.network_address)
    return {"prefix": {"addr": str(parsed.network_address), "len": parsed.prefixlen}}


@dataclass(frozen=True)
class Table:
    """Makes the commands for one table."""

    family: str
    name: str

    def _scope(self, **more: Any) -> Json:
        return {"family": self.family, "table": self.name, **more}

    def add(self) -> Json:
        return {"add": {"table": {"family": self.family, "name": self.name}}}

    def delete(self) -> Json:
        return {"delete": {"table": {"family": self.family, "name": self.name}}}

    def chain(self, name: str) -> Json:
        return {"add": {"chain": self._scope(name=name)}}

    def base_chain(self, name: str, hook: str, priority: int, *, kind: str = "filter", policy: str = "accept") -> Json:
        return {"add": {"chain": self._scope(name=name, type=kind, hook=hook, prio=priority, policy=policy)}}

    def flush_chain(self, name: str) -> Json:
        return {"flush": {"chain": self._scope(name=name)}}

    def delete_chain(self, name: str) -> Json:
        return {"delete": {"chain": self._scope(name=name)}}

    def rule(self, chain: str, *expressions: Json) -> Json:
        return {"add": {"rule": self._scope(chain=chain, expr=list(expressions))}}

    def insert(self, chain: str, comment: str, *expressions: Json) -> Json:
        """A rule before all others of the chain."""
        return {"insert": {"rule": self._scope(chain=chain, expr=list(expressions), comment=comment)}}

    def delete_rule(self, chain: str, handle: int) -> Json:
        return {"delete": {"rule": self._scope(chain=chain, handle=handle)}}

    def verdict_map(self, name: str, key: str) -> Json:
        return {"add": {"map": self._scope(name=name, type=key, map="verdict")}}

    def map(self, name: str, key: str, value: str) -> Json:
        return {"add": {"map": self._scope(name=name, type=key, map=value)}}

    def flush_map(self, name: str) -> Json:
        return {"flush": {"map": self._scope(name=name)}}

    def set(self, name: str, key: str, *flags: str) -> Json:
        return {"add": {"set": self._scope(name=name, type=key, **({"flags": list(flags)} if flags else {}))}}

    def flush_set(self, name: str) -> Json:
        return {"flush": {"set": self._scope(name=name)}}

    def delete_set(self, name: str) -> Json:
        return {"delete": {"set": self._scope(name=name)}}

    def elements(self, name: str, elements: Iterable[Any]) -> list[Json]:
        """The command that adds the elements: none for none."""
        listed = list(elements)
        return [{"add": {"element": self._scope(name=name, elem=listed)}}] if listed else []

    def delete_elements(self, name: str, elements: Iterable[Any]) -> Json:
        return {"delete": {"element": self._scope(name=name, elem=list(elements))}}


def _run(arguments: list[str], stdin: str = "") -> str:
    done = subprocess.run(["nft", "-j", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostCommandFailed(f"nft: {(done.stderr or done.stdout).strip()[:2000]}")
    return done.stdout


def apply(commands: list[Json], namespace: str | None = None) -> None:
    """Run the commands as one transaction. Raises HostCommandFailed, and then nothing was changed."""
    if commands:
        text = json.dumps({"nftables": commands})
        run_in(namespace, lambda: _run(["-f", "-"], text))


def listing(*what: str, namespace: str | None = None) -> list[tuple[str, Json]]:
    """What `nft list WHAT` shows: (kind, object) in its order."""
    answer = json.loads(run_in(namespace, lambda: _run(["list", *what])))
    return [next(iter(entry.items())) for entry in answer["nftables"] if "metainfo" not in entry]


def generation() -> int:
    """The number of the ruleset in the calling thread's namespace: every change by anybody makes it another."""
    request = struct.pack("=IHHIIBBH", 20, _GET_GENERATION, 1, 1, 0, 0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(5)
        netlink.bind((0, 0))
        netlink.send(request)
        answer = netlink.recv(4096)
    return int(struct.unpack_from(">I", answer, 24)[0])  # after both headers and the first attribute's own
