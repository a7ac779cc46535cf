"""IP protocols as security group rules name them, and what their port ranges may be."""

from pileus.kernel.errors import BadRequest
from pileus.network.errors import bad_attribute

NUMBERS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": 1,
    "icmpv6": 58,
    "igmp": 2,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
"""IANA's numbers of the names that Neutron knows."""

ICMP, ICMP6 = 1, 58
_WITH_PORTS = frozenset({6, 17, 33, 132, 136})


def canonical(text: str | int | None, ethertype: str) -> str | None:
    """A protocol as it is stored: a name or a number as text; None is any. SecurityGroupRuleInvalidProtocol else."""
    if text is None:
        return None
    name = str(text).strip().lower()
    if name in ("", "any", "-1"):
        return None
    if name in ("icmp", "icmpv6") and ethertype == "IPv6":
        return "ipv6-icmp"
    if name in NUMBERS or (name.isascii() and name.isdigit() and int(name) <= 255):
        return name
    raise BadRequest(
        f"Security group rule protocol {text} not supported. Only protocol values "
        f"{sorted(NUMBERS)} and integer representations [0 to 255] are supported.",
        kind="SecurityGroupRuleInvalidProtocol",
    )


def number(protocol: str | None) -> int | None:
    """The number of a stored protocol; None is any."""
    if protocol is None:
        return None
    return NUMBERS[protocol] if protocol in NUMBERS else int(protocol)


def check_ethertype(protocol: str | None, ethertype: str) -> None:
    """IPv6's own protocols do not go with IPv4."""
    if ethertype == "IPv4" and protocol is not None and (protocol.startswith("ipv6-") or protocol == "icmpv6"):
        raise BadRequest(
            f"Invalid ethertype {ethertype} for protocol {protocol}.", kind="SecurityGroupEthertypeConflictWithProtocol"
        )


def check_range(protocol: str | None, low: int | None, high: int | None) -> None:
    """Ports are 1 to 65535 and go with protocols that have them; for ICMP the range is type and code."""
    for value in (low, high):
        if value is not None and not 0 <= value <= 65535:
            raise _bad_port(value)
    if low is None and high is None:
        return
    known = number(protocol)
    if known is None:
        raise BadRequest(
            "Must also specify protocol if port range is given.", kind="SecurityGroupProtocolRequiredWithPorts"
        )
    if known in (ICMP, ICMP6):
        _check_icmp(low, high)
    elif known in _WITH_PORTS:
        if 0 in (low, high):
            raise _bad_port(0)
        if low is None or high is None or low > high:
            raise BadRequest(
                "For TCP/UDP protocols, port_range_min must be <= port_range_max", kind="SecurityGroupInvalidPortRange"
            )
    else:
        raise BadRequest(
            f"Invalid protocol {protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP.",
            kind="SecurityGroupInvalidProtocolForPort",
        )


def _check_icmp(kind: int | None, code: int | None) -> None:
    for label, key, value in (("type", "port-range-min", kind), ("code", "port-range-max", code)):
        if value is not None and value > 255:
            raise BadRequest(
                f"Invalid value for ICMP {label} ({key}) {value}. It must be 0 to 255.",
                kind="SecurityGroupInvalidIcmpValue",
            )
    if kind is None:
        raise BadRequest(
            f"ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing.",
            kind="SecurityGroupMissingIcmpType",
        )


def _bad_port(value: int) -> BadRequest:
    return BadRequest(f"Invalid value for port {value}", kind="SecurityGroupInvalidPortValue")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """One of a few words, in whatever case the caller wrote it."""
    for choice in choices:
        if value.lower() == choice.lower():
            return choice
    raise bad_attribute(name, f"'{value}' is not in {list(choices)}")
