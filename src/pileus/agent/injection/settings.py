"""Settings of the injection into disks."""

from dataclasses import dataclass
from typing import Literal

from pileus.kernel.config import setting


@dataclass(frozen=True)
class InjectionSettings:
    """`[injection]`: what is written into servers' disks before they boot first. A config drive is the better way."""

    enabled: bool = setting(False, "write into servers' disks; if not, a server with files gets a config drive")
    with_config_drive: bool = setting(False, "write into the disk also where the server has a config drive")
    key: bool = setting(False, "add the server's SSH key to root's authorized_keys")
    password: bool = setting(False, "set root's password to the server's adminPass")
    network: Literal["never", "without-dhcp", "always"] = setting(
        "without-dhcp", "when to write /etc/network/interfaces: where a subnet has no DHCP, always or never"
    )
    metadata: bool = setting(False, "write the server's metadata to /meta.js")
    handlers: str = setting(
        "loop,nbd,guestfs,debugfs",
        "the ways into a disk, in the order in which they are tried. loop and nbd mount it by the host's kernel, "
        "which a hostile image may attack; guestfs and debugfs do not",
        pattern="(loop|nbd|guestfs|debugfs)(,(loop|nbd|guestfs|debugfs))*",
    )
    partition: str = setting(
        "inspect",
        "the partition with the root file system: its number, 0 for a disk without partitions, inspect to look for it",
        pattern="inspect|[0-9]{1,3}",
    )
    timeout: float = setting(120.0, "how long an injection may take", unit="seconds", minimum=1.0)
    max_bytes: int = setting(10485760, "how much may be written into a disk", unit="bytes", minimum=0)
    memory: int = setting(1024, "address space of each program that edits a file system", unit="MiB", minimum=128)
