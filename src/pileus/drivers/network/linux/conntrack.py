"""Connections that the kernel tracks, in the namespace of the calling thread: finding and ending them."""

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


def cut(doomed: Callable[[Connection], bool], zone: int | None = None) -> int:
    """End the connections (of one zone, or of all) that `doomed` picks; answer how many."""
    count = 0
    for family, name in ((socket.AF_INET, "V4"), (socket.AF_INET6, "V6")):
        with _opened(family) as table:
            chosen = []
            for message in table.dump(zone=zone):
                its_zone = message.get_attr("CTA_ZONE") or 0
                original, reply = message.get_attr("CTA_TUPLE_ORIG"), message.get_attr("CTA_TUPLE_REPLY")
                if zone is not None and its_zone != zone:  # kernels before 6.8 do not filter
                    continue
                if doomed(Connection(its_zone, _flow(original, name), _flow(reply, name))):
                    chosen.append((its_zone, original))
            for its_zone, original in chosen:
                count += _delete(table, family, its_zone, original)
    return count


def _delete(table: Any, family: int, zone: int, original: Any) -> bool:
    """End one connection; False if it has ended meanwhile."""
    key = NFCTAttrTuple.from_netlink(family, original)
    protocol = original.get_attr("CTA_TUPLE_PROTO")
    key.sport, key.dport = protocol.get_attr("CTA_PROTO_SRC_PORT"), protocol.get_attr("CTA_PROTO_DST_PORT")
    try:
        table.entry("del", tuple_orig=key, **({"zone": zone} if zone else {}))
    except NetlinkError as err:
        if err.code != errno.ENOENT:
            raise
        return False
    return True


def cut_addresses(addresses: set[str]) -> int:
    """End all connections in which one of the addresses takes part, before or after translation."""
    return cut(
        lambda c: bool({c.original.source, c.original.destination, c.reply.source, c.reply.destination} & addresses)
    )
