"""Interfaces, addresses and routes over netlink, in the namespace of the calling thread.

Functions bring one thing to a wanted state and may be repeated. They take an open `IPRoute`, because opening one
costs more than most requests.
"""

import contextlib
import errno
import fcntl
import hashlib
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pileus.agent.api import HostRoute
from pileus.drivers.network.base import HostCommandFailed
from pileus.drivers.network.linux.namespaces import DIRECTORY, run_in, write_sysctl

# pyroute2 starts an event loop for each socket, and each would say so
logging.getLogger("asyncio").setLevel(logging.INFO)
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_UP = 0x0002, 0x1000, 0x4000, 0x1
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_LINK_SCOPE = 253
_STATIC = 4  # RTPROT_STATIC: routes that this driver makes, told apart from the kernel's own


@dataclass(frozen=True)
class Link:
    """An interface as the kernel shows it. `master` is the index of its bridge, 0 for none."""

    index: int
    name: str
    kind: str | None
    up: bool
    mtu: int
    mac: str
    master: int
    alias: str | None


@contextlib.contextmanager
def netlink() -> Iterator[Any]:
    """An open IPRoute; what the kernel refuses is raised as HostCommandFailed."""
    try:
        with IPRoute() as route:
            yield route
    except (NetlinkError, OSError) as err:
        raise HostCommandFailed(f"netlink: {err}") from err


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=info.get_attr("IFLA_INFO_KIND") if info else None,
        up=bool(message["flags"] & _IFF_UP),
        mtu=message.get_attr("IFLA_MTU") or 0,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        alias=message.get_attr("IFLA_IFALIAS"),
    )


def find(route: Any, name: str) -> Link | None:
    try:
        answer = tuple(route.link("get", ifname=name))
    except NetlinkError as err:
        if err.code == errno.ENODEV:
            return None
        raise
    return _link(answer[0])


def every(route: Any) -> list[Link]:
    return [_link(message) for message in route.get_links()]


def must(route: Any, name: str) -> Link:
    link = find(route, name)
    if link is None:
        raise HostCommandFailed(f"the interface {name} has vanished")
    return link


def remove(route: Any, name: str) -> None:
    link = find(route, name)
    if link is None:
        return
    with _tolerating(errno.ENODEV):
        route.link("del", index=link.index)


def bridge_mac(seed: str) -> str:
    """A locally administered address that stays the same whatever joins the bridge."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "02:" + ":".join(f"{octet:02x}" for octet in digest[:5])


def ensure_bridge(route: Any, name: str, mtu: int, alias: str) -> Link:
    """A bridge without spanning tree, which forwards at once and shows its IP traffic to connection tracking."""
    link = find(route, name)
    if link is None:
        with _tolerating(errno.EEXIST):
            route.link(
                "add",
                ifname=name,
                kind="bridge",
                address=bridge_mac(alias),
                br_stp_state=0,
                br_forward_delay=0,
                br_mcast_snooping=0,
                br_nf_call_iptables=1,
                br_nf_call_ip6tables=1,
            )
        link = must(route, name)
    if link.mtu != mtu or link.alias != alias:
        route.link("set", index=link.index, mtu=mtu, ifalias=alias)
    if not link.up:
        write_sysctl({f"net/ipv6/conf/{name}/disable_ipv6": "1"})
        route.link("set", index=link.index, state="up")
    return link


def ensure_tap(route: Any, name: str) -> Link:
    """A persistent tap; an interface that already has the name is taken as it is."""
    link = find(route, name)
    if link is not None:
        return link
    request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)
    return must(route, name)


def ensure_veth(route: Any, name: str, namespace: str, peer: str) -> Link:
    """A veth `name` whose other end is `peer` inside the namespace (a name or path).

    One whose other end is elsewhere, in a namespace that lost its name, is replaced.
    """
    link = find(route, name)
    if link is not None and not run_in(namespace, lambda: _is_here(peer)):
        remove(route, name)
        link = None
    if link is None:
        descriptor = os.open(DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _tolerating(errno.EEXIST):
                route.link("add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": descriptor})
        finally:
            os.close(descriptor)
        link = must(route, name)
    return link


def _is_here(name: str) -> bool:
    with netlink() as route:
        return find(route, name) is not None


def ensure_cable(route: Any, name: str, near: Link, far: Link, mtu: int, alias: str) -> None:
    """A veth that joins two bridges; its end at `far` is `name` backwards."""
    other = name[::-1]
    if find(route, name) is None:
        with _tolerating(errno.EEXIST):
            route.link("add", ifname=name, kind="veth", peer={"ifname": other})
    for end, bridge in ((name, near), (other, far)):
        attach(route, must(route, end), bridge, mtu, alias)


def attach(route: Any, link: Link, bridge: Link, mtu: int, alias: str, *, up: bool = True) -> None:
    """Make `link` a port of `bridge`. The host itself says nothing on it: no IPv6 address, no router solicitation."""
    if (link.master, link.mtu, link.alias, link.up) == (bridge.index, mtu, alias, up):
        return
    write_sysctl({f"net/ipv6/conf/{link.name}/disable_ipv6": "1"})
    state = "up" if up else "down"
    route.link("set", index=link.index, master=bridge.index, mtu=mtu, ifalias=alias, state=state)


def configure(route: Any, name: str, mac: str, mtu: int, wanted: Collection[str]) -> list[str]:
    """Bring an interface up with exactly these addresses (with prefix lengths); answer those that were new."""
    link = must(route, name)
    if link.mac != mac or link.mtu != mtu:
        route.link("set", index=link.index, address=mac, mtu=mtu)
    if not link.up:
        route.link("set", index=link.index, state="up")
    return ensure_addresses(route, link.index, wanted)


def addresses(route: Any, index: int) -> set[Interface]:
    """The interface's addresses, its IPv6 link-local ones aside."""
    present: set[Interface] = set()
    for message in route.get_addr(index=index):
        address = ipaddress.ip_interface(f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}")
        if not (address.version == 6 and message["scope"] == _LINK_SCOPE):
            present.add(address)
    return present


def ensure_addresses(route: Any, index: int, wanted_addresses: Collection[str]) -> list[str]:
    """Give the interface exactly these addresses, its link-local ones aside; answer those that were new."""
    wanted = {ipaddress.ip_interface(address) for address in wanted_addresses}
    present = addresses(route, index)
    for address in present - wanted:
        with _tolerating(errno.EADDRNOTAVAIL):
            route.addr("del", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    fresh = sorted(wanted - present, key=str)
    for address in fresh:
        # IFA_F_NODAD: an address that the control plane gave out once needs no probing, and serves at once
        flags = {"flags": 0x02} if address.version == 6 else {}
        with _tolerating(errno.EEXIST):
            route.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags)
    return [str(address) for address in fresh]


def ensure_routes(route: Any, routes: Collection[HostRoute]) -> list[HostRoute]:
    """Have exactly these static routes in the main table; answer those that no interface can reach."""
    wanted = {(str(ipaddress.ip_network(r.destination)), str(ipaddress.ip_address(r.nexthop))) for r in routes}
    present = set()
    for family, everything in ((socket.AF_INET, "0.0.0.0/0"), (socket.AF_INET6, "::/0")):
        for message in route.get_routes(family=family, table=254, proto=_STATIC):
            destination, gateway = message.get_attr("RTA_DST"), message.get_attr("RTA_GATEWAY")
            if message["proto"] == _STATIC and gateway:
                text = f"{destination}/{message['dst_len']}" if destination else everything
                present.add((text, gateway))
    for destination, gateway in present - wanted:
        with _tolerating(errno.ESRCH):
            route.route("del", dst=destination, gateway=gateway, proto=_STATIC)
    unreachable = []
    for destination, gateway in sorted(wanted - present):
        try:
            with _tolerating(errno.EEXIST):
                route.route("add", dst=destination, gateway=gateway, proto=_STATIC)
        except NetlinkError as err:
            if err.code not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL):
                raise
            unreachable.append(HostRoute(destination=destination, nexthop=gateway))
    return unreachable


def loopback_up(route: Any, *further: str) -> None:
    """Bring up the loopback interface, with `further` addresses besides its own."""
    link = must(route, "lo")
    if not link.up:
        route.link("set", index=link.index, state="up")
    if further:
        ensure_addresses(route, link.index, ("127.0.0.1/8", "::1/128", *further))


@contextlib.contextmanager
def _tolerating(*codes: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as err:
        if err.code not in codes:
            raise
