"""Networks made of what the Linux kernel has: bridges, namespaces, nftables; and dnsmasq."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pileus.drivers.network.linux.driver import LinuxNetwork

__all__ = ["LinuxNetwork"]


def __getattr__(name: str) -> object:
    """Load the driver when it is asked for: the settings beside it are read by processes that never need it."""
    if name == "LinuxNetwork":
        from pileus.drivers.network.linux.driver import LinuxNetwork  # noqa: PLC0415

        return LinuxNetwork
    raise AttributeError(name)
