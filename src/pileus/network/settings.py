"""The `[network]` section."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class NetworkSettings:
    """`[network]`: addresses, limits and the external network."""

    mtu: int = setting(
        1450, "largest packet in project networks: the hosts' MTU less VXLAN's 50", unit="bytes", minimum=1280
    )
    external_mtu: int = setting(1500, "largest packet in external networks", unit="bytes", minimum=1280)
    external_physical_network: str = setting(
        "external",
        "name under which agents know the interface or NAT bridge of external networks",
        pattern=r"\w[\w.-]*",
    )
    dns_domain: str = setting("openstacklocal", "domain that DHCP gives to guests", pattern=r"[A-Za-z0-9.-]*")
    public_name: str = setting("public", "name of the external network that a new cloud gets")
    public_cidr: str = setting("172.24.4.0/24", "addresses of that external network")
    public_gateway: str = setting("172.24.4.1", "its gateway: the host's own address on it")
    public_pool_start: str = setting("172.24.4.10", "first address for routers and floating IPs")
    public_pool_end: str = setting("172.24.4.250", "last address for routers and floating IPs")
    max_routes: int = setting(30, "extra routes that a router may have", minimum=0)
    max_dns_nameservers: int = setting(5, "DNS servers that a subnet may name", minimum=0)
    max_host_routes: int = setting(20, "host routes that a subnet may have", minimum=0)
    max_fixed_ips_per_port: int = setting(5, "addresses that a port may have", minimum=1)
    max_allowed_address_pairs: int = setting(10, "further addresses that a port may send from", minimum=0)
    sync_timeout: float = setting(30.0, "how long a host may take to apply one description", unit="seconds")
    quota_network: int = setting(100, "networks that a project may have; -1 is no limit", minimum=-1)
    quota_subnet: int = setting(100, "subnets that a project may have; -1 is no limit", minimum=-1)
    quota_port: int = setting(500, "ports that a project may have; -1 is no limit", minimum=-1)
    quota_router: int = setting(10, "routers that a project may have; -1 is no limit", minimum=-1)
    quota_floatingip: int = setting(50, "floating IPs that a project may have; -1 is no limit", minimum=-1)
    quota_security_group: int = setting(10, "security groups that a project may have; -1 is no limit", minimum=-1)
    quota_security_group_rule: int = setting(
        100, "security group rules that a project may have; -1 is no limit", minimum=-1
    )

    def quota_defaults(self) -> dict[str, int]:
        """Each counted resource's default limit, under the names of the quotas API."""
        return {
            "network": self.quota_network,
            "subnet": self.quota_subnet,
            "port": self.quota_port,
            "router": self.quota_router,
            "floatingip": self.quota_floatingip,
            "security_group": self.quota_security_group,
            "security_group_rule": self.quota_security_group_rule,
        }
