"""Which port holds which address.

`ip_allocation`'s key (subnet, address) makes a double allocation impossible. Writers of one subnet queue on its row in
`ip_cursor`, so that they do not even try; the cursor remembers the last address given, so that the next free one is
found without looking at the whole pool, and an address is not reused soon after it was released.
"""

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict
from pileus.network import addresses
from pileus.network.domain import FixedIp, Port, Subnet
from pileus.network.errors import in_use, invalid
from pileus.network.models import ip_allocation, ip_cursor

_PROBE = 16  # addresses looked at first; each further look is 8 times as large
_LARGEST_PROBE = 1024


class Wanted(NamedTuple):
    """An address to allocate: this one, or any of the first of `subnets` that has one free."""

    subnets: tuple[Subnet, ...]
    ip: str | None = None


_LOCK = (
    sa.select(ip_cursor.c.subnet_id, ip_cursor.c.last_ip)
    .where(ip_cursor.c.subnet_id.in_(sa.bindparam("subnets", expanding=True)))
    .order_by(ip_cursor.c.subnet_id)
    .with_for_update()
)
_USED = sa.select(ip_allocation.c.ip).where(
    ip_allocation.c.subnet_id == sa.bindparam("subnet"),
    ip_allocation.c.ip.in_(sa.bindparam("ips", expanding=True)),
)
_MOVE = (
    sa.update(ip_cursor).where(ip_cursor.c.subnet_id == sa.bindparam("subnet")).values(last_ip=sa.bindparam("moved_to"))
)
_INSERT = sa.insert(ip_allocation)


def open_subnet(tx: Tx, subnet_id: str) -> None:
    """Make a new subnet's addresses allocatable."""
    tx.execute(sa.insert(ip_cursor).values(subnet_id=subnet_id, last_ip=""))


def close_subnet(tx: Tx, subnet_id: str) -> None:
    """Forget a subnet's addresses. What still holds some must have been checked under `lock`."""
    tx.execute(sa.delete(ip_allocation).where(ip_allocation.c.subnet_id == subnet_id))
    tx.execute(sa.delete(ip_cursor).where(ip_cursor.c.subnet_id == subnet_id))


def lock(tx: Tx, subnet_ids: Collection[str]) -> dict[str, str]:
    """Make other writers of these subnets wait until this transaction ends; the last address given in each."""
    rows = tx.all(_LOCK, {"subnets": sorted(subnet_ids)})
    return {row.subnet_id: row.last_ip for row in rows}


def allocate(
    tx: Tx, port_id: str, network_id: str, wanted: Sequence[Wanted], first_position: int = 0
) -> tuple[FixedIp, ...]:
    """Give a port its addresses, all or none. Conflict if one is taken or a subnet has none left."""
    if not wanted:
        return ()
    cursors = lock(tx, {subnet.id for want in wanted for subnet in want.subnets})
    given: list[FixedIp] = []
    for want in wanted:
        subnets = [subnet for subnet in want.subnets if subnet.id in cursors]
        if want.ip is not None:
            given.append(_requested(tx, subnets, want.ip, given))
        else:
            given.append(_next(tx, network_id, subnets, cursors, given))
    tx.execute(
        _INSERT,
        [
            {"subnet_id": fixed.subnet_id, "ip": fixed.ip, "port_id": port_id, "position": first_position + position}
            for position, fixed in enumerate(given)
        ],
    )
    return tuple(given)


def release(tx: Tx, port_id: str, fixed_ips: Iterable[FixedIp] | None = None) -> None:
    """Take addresses from a port: all of them, or those named."""
    mine = ip_allocation.c.port_id == port_id
    if fixed_ips is None:
        tx.execute(sa.delete(ip_allocation).where(mine))
        return
    for fixed in fixed_ips:
        tx.execute(
            sa.delete(ip_allocation).where(
                mine, ip_allocation.c.subnet_id == fixed.subnet_id, ip_allocation.c.ip == fixed.ip
            )
        )


def _requested(tx: Tx, subnets: Sequence[Subnet], ip: str, given: Sequence[FixedIp]) -> FixedIp:
    if not subnets:
        raise invalid("the subnet is being deleted")
    fixed = FixedIp(subnets[0].id, ip)
    if fixed in given or tx.one(_USED, {"subnet": fixed.subnet_id, "ips": [ip]}) is not None:
        raise Conflict(
            f"IP address {ip} already allocated in subnet {fixed.subnet_id}", kind="IpAddressAlreadyAllocated"
        )
    return fixed


def _next(
    tx: Tx, network_id: str, subnets: Sequence[Subnet], cursors: dict[str, str], given: Sequence[FixedIp]
) -> FixedIp:
    for subnet in subnets:
        ip = _free(tx, subnet, cursors[subnet.id], {fixed.ip for fixed in given if fixed.subnet_id == subnet.id})
        if ip is not None:
            cursors[subnet.id] = ip
            tx.execute(_MOVE, {"subnet": subnet.id, "moved_to": ip})
            return FixedIp(subnet.id, ip)
    raise in_use("IpAddressGenerationFailure", f"No more IP addresses available on network {network_id}.")


def _free(tx: Tx, subnet: Subnet, last: str, taken: Collection[str]) -> str | None:
    candidates = addresses.walk(subnet.allocation_pools, last)
    size = _PROBE
    while window := list(islice(candidates, size)):
        used = {row.ip for row in tx.all(_USED, {"subnet": subnet.id, "ips": window})}
        for ip in window:
            if ip not in used and ip not in taken:
                return ip
        size = min(size * 8, _LARGEST_PROBE)
    return None


# --- what a port should get -----------------------------------------------------------------------------------


def plan(
    network_id: str,
    subnets: Sequence[Subnet],
    mac: str,
    fixed_ips: Sequence[Mapping[str, Any]] | None,
    *,
    router: bool = False,
) -> list[Wanted]:
    """The addresses that a port should have.

    None asked for: one IPv4, one stateful IPv6, and the derived one of every SLAAC subnet. Asked for: those, and (but
    for a router) the derived ones, which the guest takes whether we like it or not.
    """
    wanted: list[Wanted] = []
    if fixed_ips is None:
        four = tuple(subnet for subnet in subnets if subnet.ip_version == 4)
        six = tuple(subnet for subnet in subnets if subnet.ip_version == 6 and not subnet.is_slaac)
        wanted = [Wanted(choice) for choice in (four, six) if choice]
    else:
        by_id = {subnet.id: subnet for subnet in subnets}
        for item in fixed_ips:
            wanted.append(_asked(network_id, by_id, mac, item, router=router))
        if not fixed_ips:
            return []
    if not router:
        present = {(want.subnets[0].id, want.ip) for want in wanted}
        for subnet in subnets:
            derived = addresses.eui64(subnet.cidr, mac) if subnet.is_slaac else None
            if derived is not None and (subnet.id, derived) not in present:
                wanted.append(Wanted((subnet,), derived))
    return wanted


def _asked(
    network_id: str, subnets: Mapping[str, Subnet], mac: str, item: Mapping[str, Any], *, router: bool
) -> Wanted:
    subnet_id, text = item.get("subnet_id"), item.get("ip_address")
    if subnet_id is None and text is None:
        raise invalid("IP allocation requires subnet_id or ip_address")
    address = addresses.parse_address("fixed_ips", text) if text is not None else None
    if subnet_id is not None:
        subnet = subnets.get(subnet_id)
        if subnet is None:
            raise invalid(
                f"Failed to create port on network {network_id}, because fixed_ips included invalid subnet {subnet_id}"
            )
    else:
        subnet = _holding(subnets.values(), address)
    if address is not None:
        addresses.check_in_subnet(subnet, address)
    if subnet.is_slaac and not router:
        derived = addresses.eui64(subnet.cidr, mac)
        if address is not None and str(address) != derived:
            raise BadRequest(
                f"IPv6 address {address} cannot be directly assigned to a port on subnet {subnet.id} as the subnet is "
                "configured for automatic addresses",
                kind="AllocationOnAutoAddressSubnet",
            )
        return Wanted((subnet,), derived)
    return Wanted((subnet,), None if address is None else str(address))


def _holding(subnets: Iterable[Subnet], address: Any) -> Subnet:
    for subnet in subnets:
        if address in ipaddress.ip_network(subnet.cidr):
            return subnet
    raise BadRequest(
        f"IP address {address} is not a valid IP for any of the subnets on the specified network.",
        kind="InvalidIpForNetwork",
    )


def kept(port: Port, wanted: Sequence[Wanted]) -> tuple[tuple[FixedIp, ...], list[Wanted]]:
    """Of a port's addresses those that `wanted` is content with, and what of `wanted` remains to be allocated."""
    left = list(port.fixed_ips)
    keep: list[FixedIp] = []
    missing: list[Wanted] = []
    for want in sorted(wanted, key=lambda want: want.ip is None):
        ids = {subnet.id for subnet in want.subnets}
        match = next(
            (fixed for fixed in left if fixed.subnet_id in ids and (want.ip is None or want.ip == fixed.ip)), None
        )
        if match is None:
            missing.append(want)
        else:
            left.remove(match)
            keep.append(match)
    return tuple(keep), missing
