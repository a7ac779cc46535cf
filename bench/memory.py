"""The memory of a running cloud: proportional set size (PSS) of the supervisor and each process that it forked.

`python -m bench.memory [FILE]` with the cloud's configuration file; without one, and if no cloud runs here, one is
started for it and left alone for 15 s. PSS counts a page that n processes share as 1/n
in each, so that the sum is what the cloud really takes. "Own" is what would be freed if that process ended.
"""

import sys
import time
from pathlib import Path

from tests.cloud import cloud

from pileus.settings import load_settings
from pileus.supervisor.machine import Machine

IDLE_SECONDS = 15.0
GOAL = 150.0  # MiB, all processes, idle


def main() -> int:
    """Measure; 1 if the cloud that was named does not run."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    supervisor = Machine(load_settings(path).settings).running()
    if supervisor is not None:
        table(supervisor)
        return 0
    if path is not None:
        print(f"no cloud of {path} is running")
        return 1
    with cloud("qb") as started:
        time.sleep(IDLE_SECONDS)
        table(int((started.directory / "run/supervisor.lock").read_text()))
    return 0


def table(supervisor: int) -> None:
    """Print what each process takes, and all together."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    total = 0.0
    print(f"{'process':<16}{'PSS MiB':>10}{'own MiB':>10}{'threads':>9}")
    for pid in (supervisor, *map(int, children)):
        sizes = rollup(pid)
        own = sizes["Private_Clean"] + sizes["Private_Dirty"]
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        print(f"{name:<16}{sizes['Pss']:>10.1f}{own:>10.1f}{threads:>9}")
        total += sizes["Pss"]
    print(f"{'together':<16}{total:>10.1f}   (goal: under {GOAL:.0f})")


def rollup(pid: int) -> dict[str, float]:
    """The sums over all of a process's memory, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}


if __name__ == "__main__":
    sys.exit(main())
