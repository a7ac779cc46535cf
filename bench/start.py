"""Starting a cloud: from the command to the first answer, the first time and the next, and what is installed.

`python -m bench.start`. Real drivers, as `make up` has them. "API ready" is the first answer to a version document,
asked for every 5 ms from the start of the command on; "list answered" the first list of servers, with the login that
comes before it. The installed size is that of Pileus with every distribution that it requires, as files on disk.
"""

import importlib.metadata
import re
import subprocess
import time
from pathlib import Path

from bench.support.http import Connection
from bench.support.report import Figure, show
from tests.cloud import PILEUS, Cloud

import pileus

GOAL_READY = 2.0
GOAL_LIST = 5.0
GOAL_SIZE = 150.0
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def start(cloud: Cloud) -> tuple[float, float, float]:
    """Seconds until the API answers, until the command returns, and until a list of servers is answered."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [PILEUS, "up", "--detach"],
        env={"PILEUS_CONFIG": str(cloud.config), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdout=subprocess.DEVNULL,
    ) as command:
        while not _answers(cloud):
            time.sleep(0.005)
        ready = time.perf_counter() - begun
        if command.wait():
            raise RuntimeError(f"pileus up failed\n{cloud.logs()[-5000:]}")
    returned = time.perf_counter() - begun
    status, _ = Connection(cloud.port).login(cloud.admin_password).ask("GET", "/compute/v2.1/servers")
    if status != 200:
        raise RuntimeError(f"the list of servers answered {status}")
    return ready, returned, time.perf_counter() - begun


def _answers(cloud: Cloud) -> bool:
    try:
        return Connection(cloud.port).ask("GET", "/identity/v3")[0] == 200
    except OSError:
        return False


def installed() -> tuple[float, int]:
    """MiB of Pileus and all that it requires, and how many distributions that is."""
    wanted, seen, size = ["pileus"], set(), 0
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in seen:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required on other systems only
        seen.add(name)
        paths = [Path(str(found.locate_file(one))) for one in found.files or ()]
        size += sum(path.stat().st_size for path in paths if path.is_file())
        wanted += [
            match.group()
            for requirement in found.requires or ()
            if "extra ==" not in requirement and (match := _NAME.match(requirement))
        ]
    package = Path(pileus.__file__).parent
    size += sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    return size / (1 << 20), len(seen)


def main() -> None:
    cloud = Cloud("qb")
    try:
        first = start(cloud)
        cloud.pileus("down")
        next_ = start(cloud)
    finally:
        cloud.down()
    size, count = installed()
    show(
        "pileus up --detach with real drivers on an empty directory, then down, then up again",
        [
            Figure("first start: API ready", first[0], "s", None, 18.5),
            Figure("first start: everything works", first[1], "s"),
            Figure("next start: API ready", next_[0], "s", GOAL_READY, 18.5),
            Figure("next start: everything works", next_[1], "s"),
            Figure("next start: list of servers answered", next_[2], "s", GOAL_LIST, 18.5),
            Figure(f"installed, {count} distributions", size, "MiB", GOAL_SIZE, 665),
        ],
    )


if __name__ == "__main__":
    main()
