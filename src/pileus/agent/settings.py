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
    image_cache_min_free: int = setting(
        2048, "below so much free space, images that no guest uses go too, the least recently used first",
        unit="MiB", minimum=0,
    )  # fmt: skip
    image_cache_format: Literal["raw", "qcow2"] = setting(
        "raw", "what images are converted to. raw is faster, qcow2 is smaller where files cannot have holes"
    )
    image_cache_prefetches: int = setting(
        2, "images that are fetched at a time before a guest needs them", minimum=1, maximum=64
    )
    image_cache_scan_interval: int = setting(
        86400, "how often each cached image is read and compared with its checksum, in the background. 0: never",
        unit="seconds", minimum=0,
    )  # fmt: skip
    image_cache_scan_rate: int = setting(8, "how fast that reads", unit="MiB per second", minimum=1)
    disk_mode: Literal["overlay", "copy"] = setting(
        "overlay", "root disks of new guests: copy-on-write overlays on the cached image, or full copies of it"
    )
    disk_preallocate: bool = setting(
        False, "take all the space of a new guest's disks at once, so that it never finds the host's disk full"
    )
    control_url: str = setting("", "where the control plane answers. Empty: the site's public_url")
    threads: int = setting(16, "requests that the agent works on at a time", minimum=1, maximum=256)
    slow_threads: int = setting(
        32, "requests beside those that may wait for images at a time; further ones are told to come back",
        minimum=1, maximum=1024,
    )  # fmt: skip
    report_interval: float = setting(10.0, "how often the host reports what it has", unit="seconds", minimum=0.1)
