"""Connections that the kernel tracks, in the namespace of the calling thread: finding, marking and ending them."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from pileus.drivers.network.base import HostCommandFailed


@dataclass(frozen=True)
class Flow:
    """One direction of a connection. `ports` is (source, destination) for protocols that have ports, and
    (type, code) for ICMP."""

    source: str
    destination: str
    protocol: int
    ports: tuple[int, int]


@dataclass(frozen=True)
class Connection:
    """`original` is as the first packet went; `reply` as answers come, after any translation of addresses."""

    zone: int
    original: Flow
    reply: Flow


def _flow(nla: Any, family: str) -> Flow:
    ip, protocol = nla.get_attr("CTA_TUPLE_IP"), nla.get_attr("CTA_TUPLE_PROTO")
    number = protocol.get_attr("CTA_PROTO_NUM")
    kinds = {1: "ICMP", 58: "ICMPV6"}
    if number in kinds:
        pair = (f"CTA_PROTO_{kinds[number]}_TYPE", f"CTA_PROTO_{kinds[number]}_CODE")
    else:
        pair = ("CTA_PROTO_SRC_PORT", "CTA_PROTO_DST_PORT")
    return Flow(
        source=str(ipaddress.ip_address(ip.get_attr(f"CTA_IP_{family}_SRC"))),
        destination=str(ipaddress.ip_address(ip.get_attr(f"CTA_IP_{family}_DST"))),
        protocol=number,
        ports=(protocol.get_attr(pair[0]) or 0, protocol.get_attr(pair[1]) or 0),
    )


@contextlib.contextmanager
def _opened(family: int) -> Iterator[Any]:
    try:
        with NFCTSocket(nfgen_family=family) as table:
            yield table
    except (NetlinkError, OSError) as err:
        raise HostCommandFailed(f"connection tracking: {err}") from err


def cut_addresses(addresses: set[str]) -> int:
    """Forget all connections in which one of the addresses takes part, before or after translation."""
    return _each(
        lambda c: bool({c.original.source, c.original.destination, c.reply.source, c.reply.destination} & addresses),
        None,
        "del",
    )


def mark(picks: Callable[[Connection], bool], zone: int, value: int) -> int:
    """Set the mark of the zone's connections that `picks` picks; answer how many.

    Unlike a forgotten connection, which the next packet of either side would begin anew, a marked one can be
    refused for as long as anybody tries.
    """
    return _each(picks, zone, "set", mark=value)


def _each(picks: Callable[[Connection], bool], zone: int | None, command: str, **values: int) -> int:
    """Send a command for each connection picked, of one zone or of all."""
    count = 0
    for family, name in ((socket.AF_INET, "V4"), (socket.AF_INET6, "V6")):
        with _opened(family) as table:
            chosen = []
            for message in table.dump(zone=zone):
                its_zone = message.get_attr("CTA_ZONE") or 0
                original, reply = message.get_attr("CTA_TUPLE_ORIG"), message.get_attr("CTA_TUPLE_REPLY")
                if zone is not None and its_zone != zone:  # kernels before 6.8 do not filter
                    continue
                if picks(Connection(its_zone, _flow(original, name), _flow(reply, name))):
                    chosen.append((its_zone, original))
            for its_zone, original in chosen:
                named = {**values, "zone": its_zone} if its_zone else values
                count += _send(table, command, _key(family, original), named)
    return count


def _key(family: int, original: Any) -> NFCTAttrTuple:
    """By what the kernel finds the connection: pyroute2 forgets the ports of rarer protocols."""
    key = NFCTAttrTuple.from_netlink(family, original)
    protocol = original.get_attr("CTA_TUPLE_PROTO")
    key.sport, key.dport = protocol.get_attr("CTA_PROTO_SRC_PORT"), protocol.get_attr("CTA_PROTO_DST_PORT")
    return key


def _send(table: Any, command: str, key: NFCTAttrTuple, values: dict[str, int]) -> bool:
    """False if the connection has ended meanwhile."""
    try:
        table.entry(command, tuple_orig=key, **values)
    except NetlinkError as err:
        if err.code != errno.ENOENT:
            raise
        return False
    return True
