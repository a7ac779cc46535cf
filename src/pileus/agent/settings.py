"""Settings of the agent of one host."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pileus.kernel.config import setting


@dataclass(frozen=True)
class AgentSettings:
    """`[agent]`: the process that makes guests and networks on this host."""

    host: str = setting(
        "", "this host's name in the cloud; it must not change. Empty: the machine's host name", pattern="[\\w.-]*"
    )
    hypervisor: Literal["libvirt", "fake"] = setting(
        "libvirt", "what runs the guests. fake: nothing does, for tests and load tests"
    )
    network: Literal["linux", "fake"] = setting(
        "linux", "what makes the networks. fake: nothing does, for tests and load tests"
    )
    socket: Path = setting(Path("agent.sock"), "the Unix socket of the agent's API", under="run_dir")
    journal_dir: Path = setting(Path("agent"), "what the agent remembers of its guests and networks")
    instances_dir: Path = setting(Path("instances"), "the disks and console logs of this host's guests")
    image_cache_dir: Path = setting(Path("image_cache"), "images that were fetched, as guests' disks are based on them")
    image_cache_unused: int = setting(
        86400, "how long an image that no guest uses stays in the cache", unit="seconds", minimum=0
    )
    control_url: str = setting("", "where the control plane answers. Empty: the site's public_url")
    threads: int = setting(16, "requests that the agent works on at a time", minimum=1, maximum=256)
    report_interval: float = setting(10.0, "how often the host reports what it has", unit="seconds", minimum=0.1)
