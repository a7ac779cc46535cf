"""Settings of the whole site and of the control plane's processes."""

from dataclasses import dataclass
from pathlib import Path

from pileus.kernel.config import setting


@dataclass(frozen=True)
class SiteSettings:
    """`[site]`: this cloud, and where it keeps its things."""

    prefix: str = setting(
        "pl",
        "what the names of everything on a host begin with (interfaces, namespaces, rules, domains), so that two"
        " clouds can share a machine",
        pattern="[a-z][a-z0-9]{1,2}",
    )
    region: str = setting("RegionOne", "the region's name in the catalog")
    state_dir: Path = setting(
        Path("/var/lib/pileus"), "what must survive: database, images, disks, keys. Relative paths are under it"
    )
    run_dir: Path = setting(Path("/run/pileus"), "sockets, locks and process ids: gone after a reboot")
    log_dir: Path = setting(Path("/var/log/pileus"), "the logs of a cloud that runs in the background")
    policy_file: Path = setting(
        Path("/etc/pileus/policy.yaml"),
        "rules that override the defaults of who may do what, in the form of oslo.policy's files; it need not be there",
    )
    policy_dir: Path = setting(
        Path("/etc/pileus/policy.d"),
        "the same for single services, in files <service>.yaml (identity, image, network, compute), which win; each may"
        " only override the rules of its service",
    )
    public_url: str = setting(
        "",
        "the address that the catalog gives to clients, such as https://cloud.example.org. Empty: http with the"
        " address and port of [api]",
        pattern="(https?://[^/?#]+(/[^?#]*[^/?#])?)?",
    )


@dataclass(frozen=True)
class ApiSettings:
    """`[api]`: the processes that answer clients."""

    host: str = setting("127.0.0.1", "the address to listen on; 0.0.0.0 is every IPv4 address, :: every address")
    port: int = setting(8990, "the TCP port to listen on", minimum=1, maximum=65535)
    workers: int = setting(0, "processes that answer. 0: one for two cores, at most 4", minimum=0, maximum=64)
    threads: int = setting(
        24,
        "requests that one process works on at a time; further ones wait. An upload or a download takes one"
        " for as long as it lasts",
        minimum=1,
        maximum=1024,
    )
    max_body: int = setting(1 << 20, "the largest request body, uploads of data excepted", unit="bytes", minimum=65536)
    stop_timeout: float = setting(
        10.0, "how long requests under way may take to finish when a process is stopped", unit="seconds", minimum=0
    )
