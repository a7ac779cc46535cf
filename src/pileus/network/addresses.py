"""Arithmetic of addresses: pure functions over text, with Neutron's rules and errors."""

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from pileus.kernel.errors import BadRequest
from pileus.network.domain import Subnet
from pileus.network.errors import bad_attribute, in_use, invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Block = ipaddress.IPv4Network | ipaddress.IPv6Network
Pool = tuple[str, str]

MAC_PREFIX = "fa:16:3e"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def parse_address(name: str, text: str) -> Address:
    """An IP address. BadRequest names the attribute."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as err:
        raise bad_attribute(name, f"'{text}' is not a valid IP address") from err


def parse_block(name: str, text: str) -> Block:
    """A block with its host bits zero. BadRequest names the attribute and, where it can, what was meant."""
    if "/" not in text:
        raise bad_attribute(name, f"'{text}' is not a valid IP subnet: the prefix length is missing")
    try:
        return ipaddress.ip_network(text)
    except ValueError as err:
        try:
            meant = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise bad_attribute(name, f"'{text}' is not a valid IP subnet") from err
        raise bad_attribute(name, f"'{text}' isn't a recognized IP subnet cidr, '{meant}' is recommended") from err


def parse_mac(name: str, text: str) -> str:
    """A unicast MAC address in lower case with colons."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise bad_attribute(name, f"'{text}' is not a valid MAC address")
    return mac


def random_mac() -> str:
    """A MAC with OpenStack's prefix; the caller checks that the network has none like it."""
    tail = os.urandom(3)
    return f"{MAC_PREFIX}:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}"


def eui64(cidr: str, mac: str) -> str:
    """The address that a guest with this MAC gives itself in an IPv6 subnet (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 0x02
    interface = int.from_bytes(bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]]), "big")
    return str(ipaddress.IPv6Address(int(ipaddress.IPv6Network(cidr).network_address) | interface))


def usable(block: Block) -> tuple[int, int]:
    """The first and last address that a host may have: without IPv4's network and broadcast, IPv6's anycast."""
    first, last = int(block.network_address), int(block.broadcast_address)
    if block.version == 4 and block.prefixlen < 31:
        return first + 1, last - 1
    if block.version == 6 and block.prefixlen < 127:
        return first + 1, last
    return first, last


def default_gateway(block: Block) -> str | None:
    """The first usable address; none in a block of a single address."""
    if block.num_addresses == 1:
        return None
    return str(_of(block, usable(block)[0]))


def _of(block: Block, number: int) -> Address:
    return ipaddress.IPv4Address(number) if block.version == 4 else ipaddress.IPv6Address(number)


def check_gateway(block: Block, gateway: Address) -> None:
    """A gateway is a usable address of its subnet; an IPv6 one may be link-local."""
    if gateway.version != block.version:
        raise invalid(f"gateway_ip '{gateway}' does not match the ip_version '{block.version}'")
    if gateway.version == 6 and gateway.is_link_local:
        return
    first, last = usable(block)
    if not first <= int(gateway) <= last:
        raise invalid("Gateway is not valid on subnet")


def default_pools(block: Block, gateway: str | None) -> tuple[Pool, ...]:
    """All usable addresses except the gateway."""
    first, last = usable(block)
    hole = int(ipaddress.ip_address(gateway)) if gateway else None
    if hole is None or not first <= hole <= last:
        ranges = [(first, last)]
    else:
        ranges = [(low, high) for low, high in ((first, hole - 1), (hole + 1, last)) if low <= high]
    return tuple((str(_of(block, low)), str(_of(block, high))) for low, high in ranges)


def check_pools(block: Block, pools: Sequence[Pool]) -> tuple[Pool, ...]:
    """Pools in order, each within the block and none overlapping another."""
    parsed = []
    for start, end in pools:
        first, last = parse_address("allocation_pools", start), parse_address("allocation_pools", end)
        if first.version != block.version or last.version != block.version or int(last) < int(first):
            raise BadRequest(f"The allocation pool {start}-{end} is not valid.", kind="InvalidAllocationPool")
        low, high = usable(block)
        if int(first) < low or int(last) > high:
            raise BadRequest(
                f"The allocation pool {start}-{end} spans beyond the subnet cidr {block}.",
                kind="OutOfBoundsAllocationPool",
            )
        parsed.append((int(first), int(last)))
    parsed.sort()
    for (_, last_one), (first_one, _) in pairwise(parsed):
        if first_one <= last_one:
            raise in_use("OverlappingAllocationPools", f"Found overlapping allocation pools for subnet {block}.")
    return tuple((str(_of(block, low)), str(_of(block, high))) for low, high in parsed)


def check_gateway_outside(gateway: str | None, pools: Iterable[Pool]) -> None:
    """The gateway's address must not be handed out."""
    if gateway is None:
        return
    number = int(ipaddress.ip_address(gateway))
    for start, end in pools:
        first = ipaddress.ip_address(start)
        if first.version == ipaddress.ip_address(gateway).version and (
            int(first) <= number <= int(ipaddress.ip_address(end))
        ):
            raise in_use(
                "GatewayConflictWithAllocationPools",
                f"Gateway ip {gateway} conflicts with allocation pool {start}-{end}.",
            )


def check_in_subnet(subnet: Subnet, address: Address) -> None:
    """A requested address must be one that a host of the subnet may have."""
    block = ipaddress.ip_network(subnet.cidr)
    first, last = usable(block)
    if address.version != block.version or not first <= int(address) <= last:
        raise BadRequest(f"IP address {address} is not a valid IP for the specified subnet.", kind="InvalidIpForSubnet")


def overlap(one: str, other: str) -> bool:
    """Whether two blocks share addresses."""
    a, b = ipaddress.ip_network(one), ipaddress.ip_network(other)
    return (
        a.version == b.version
        and int(a.network_address) <= int(b.broadcast_address)
        and int(b.network_address) <= int(a.broadcast_address)
    )


def with_prefix(ip: str, cidr: str) -> str:
    """`10.0.0.5` in `10.0.0.0/24` is `10.0.0.5/24`."""
    return f"{ip}/{cidr.rpartition('/')[2]}"


def contains(cidr: str, ip: str) -> bool:
    """Whether an address is in a block."""
    return ipaddress.ip_address(ip) in ipaddress.ip_network(cidr)


def walk(pools: Sequence[Pool], after: str) -> Iterator[str]:
    """Every address of the pools once, beginning after `after` and going round. `after` may be empty or anywhere."""
    ranges = [(ipaddress.ip_address(start), int(ipaddress.ip_address(end))) for start, end in pools]
    pivot = int(ipaddress.ip_address(after)) if after else -1
    for first, last in ranges:
        for number in range(max(int(first), pivot + 1), last + 1):
            yield str(type(first)(number))
    for first, last in ranges:
        for number in range(int(first), min(last, pivot) + 1):
            yield str(type(first)(number))
