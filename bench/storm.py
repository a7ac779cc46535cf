"""A storm on fake drivers: 8 clients make 200 servers on one host, each with a port, and delete them again.

`python -m bench.storm [--servers 200] [--clients 8]`. The clock runs from the first call until the list shows all as
ACTIVE, and until it shows none. A third run makes the servers with min_count.
"""

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.support.http import Connection
from bench.support.report import Figure, show
from bench.support.site import Site, site

SERVERS = "/compute/v2.1/servers"


def together(clients: int, work: Callable[[int], None]) -> None:
    """Run `work(n)` on so many threads at once."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_for(connection: Connection, path: str, count: int) -> None:
    """Poll a list until it has so many servers."""
    while len(connection.ask("GET", path)[1]["servers"]) != count:
        time.sleep(0.05)


def boot_all(cloud: Site, template: dict[str, Any], clients: int, each: int) -> float:
    """Each client makes `each` servers, one call after another: seconds until all are ACTIVE."""
    connections = [cloud.connect() for _ in range(clients)]

    def work(number: int) -> None:
        for _ in range(each):
            connections[number].make(SERVERS, {"server": template})

    begun = time.perf_counter()
    together(clients, work)
    wait_for(cloud.api, f"{SERVERS}?status=ACTIVE&limit=1000", clients * each)
    return time.perf_counter() - begun


def delete_all(cloud: Site, clients: int) -> float:
    """The clients share the deletions: seconds until all are gone."""
    ids: Sequence[str] = [server["id"] for server in cloud.api.ask("GET", f"{SERVERS}?limit=1000")[1]["servers"]]
    connections = [cloud.connect() for _ in range(clients)]

    def work(number: int) -> None:
        for server_id in ids[number::clients]:
            connections[number].ask("DELETE", f"{SERVERS}/{server_id}")

    begun = time.perf_counter()
    together(clients, work)
    wait_for(cloud.api, f"{SERVERS}?limit=1000", 0)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    clients, each = arguments.clients, arguments.servers // arguments.clients
    with site() as cloud:
        template = cloud.template()
        cloud.delete(cloud.boot(template)[0])
        active = boot_all(cloud, template, clients, each)
        gone = delete_all(cloud, clients)
        begun = time.perf_counter()
        for _ in range(4):
            cloud.api.make(SERVERS, {"server": {**template, "min_count": arguments.servers // 4}})
        wait_for(cloud.api, f"{SERVERS}?status=ACTIVE&limit=1000", arguments.servers // 4 * 4)
        at_once = time.perf_counter() - begun
        delete_all(cloud, clients)
    show(
        f"{clients * each} servers with a port each on one host, {clients} clients, list polled every 50 ms",
        [
            Figure("until all are ACTIVE", active, "s", 5.0, 398),
            Figure("until all are gone", gone, "s", 3.0, 164),
            Figure(f"four calls of min_count={arguments.servers // 4}, until all are ACTIVE", at_once, "s", None, 132),
        ],
    )


if __name__ == "__main__":
    main()
