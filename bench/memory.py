"""The memory of a running cloud: proportional set size (PSS) of the supervisor and each process that it forked.

`python bench/memory.py [FILE]` with the cloud's configuration file. PSS counts a page that n processes share as 1/n
in each, so that the sum is what the cloud really takes. "Own" is what would be freed if that process ended.
"""

import sys
from pathlib import Path

from pileus.settings import load_settings
from pileus.supervisor.machine import Machine

GOAL = 150.0  # MiB, all processes, idle


def main() -> int:
    """Print the table; 1 if no cloud is running."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    supervisor = Machine(load_settings(path).settings).running()
    if supervisor is None:
        print("no cloud is running here: make up")
        return 1
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
    return 0


def rollup(pid: int) -> dict[str, float]:
    """The sums over all of a process's memory, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}


if __name__ == "__main__":
    sys.exit(main())
