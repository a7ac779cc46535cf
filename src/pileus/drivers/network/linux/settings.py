"""Settings of the Linux network driver."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class LinuxNetworkSettings:
    """How networks are made on this host."""

    physical_networks: dict[str, str] = setting(
        {"external": "nat"},
        "What each physical network is on this host: `nat` (a bridge of the host's own, which holds the subnets'"
        " gateway addresses and masquerades what leaves the host) or `interface:NAME` (a spare interface or an"
        " existing bridge)",
    )
    dhcp_lease_time: int = setting(86400, "How long a DHCP lease lasts", unit="seconds", minimum=120)
    dns_servers: tuple[str, ...] = setting(
        (),
        "Name servers that the networks' DNS servers ask for names they do not know, reached through the network's"
        " router; none: they answer local names only",
    )
    dnsmasq_user: str = setting(
        "dnsmasq",
        "The user that dnsmasq runs as; root is used, and logged, if this one does not exist or may not enter the"
        " state directory",
    )
