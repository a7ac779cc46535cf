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
