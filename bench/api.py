"""How many requests one API worker on one core answers, with authentication and policy, on SQLite.

`python -m bench.api [--seconds 3] [--many 100000]`. A real `pileus up` with one worker, which is pinned to the first
core; the client, raw sockets with 4 requests under way, is pinned to the second. Rates are given by the clock and by
the worker's own processor time: the second is what one core gives when nobody else is using it. The servers of the
long lists are copies of a real one, with port and address, written into the database.
"""

import argparse
import os
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from bench.support.http import rate
from bench.support.report import Figure, percentiles, show
from bench.support.site import Site, cpu_seconds, pin, site

from pileus.compute.servers.models import server
from pileus.kernel.db import Database, DatabaseSettings, Tx
from pileus.kernel.ids import new_uuid
from pileus.network.models import ip_allocation, port, port_security_group

GOAL = 1500.0
UNDER_WAY = 4
DETAIL = "/compute/v2.1/servers/detail?limit=1000"
BATCH = 2000
FIRST = ip_address("10.129.0.1")


def measure(cloud: Site, worker: int, path: str, seconds: float) -> tuple[float, float]:
    """Answers per second: by the clock, and of the worker's processor time."""
    connections = [cloud.connect() for _ in range(UNDER_WAY)]
    rate(connections, path, 0.3)
    before = cpu_seconds(worker)
    per_second, latencies = rate(connections, path, seconds)
    used = cpu_seconds(worker) - before
    return per_second, len(latencies) / used


def one_by_one(cloud: Site, path: str, count: int) -> tuple[float, float]:
    """Milliseconds of a request on an idle worker: 50th and 95th percentile."""
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        status, _ = cloud.api.ask("GET", path)
        taken.append((time.perf_counter() - begun) * 1000)
        assert status == 200
    return percentiles(taken)


class Copies:
    """Makes copies of a server with its port and address."""

    def __init__(self, db: Database, server_id: str) -> None:
        self._db = db
        self._made = 0
        with db.read() as tx:
            self._server = _row(tx, server, server.c.id == server_id)
            self._port = _row(tx, port, port.c.device_id == server_id)
            self._address = _row(tx, ip_allocation, ip_allocation.c.port_id == self._port["id"])
            self._group = _row(tx, port_security_group, port_security_group.c.port_id == self._port["id"])
        del self._server["number"]

    def make(self, total: int) -> None:
        """Have so many copies altogether."""
        while self._made < total:
            numbers = range(self._made, min(total, self._made + BATCH))
            self._db.transact(lambda tx, numbers=numbers: self._insert(tx, numbers))
            self._made = numbers.stop

    def _insert(self, tx: Tx, numbers: range) -> None:
        servers, ports, addresses, groups = [], [], [], []
        for number in numbers:
            server_id, port_id = new_uuid(), new_uuid()
            created = self._server["created_at"] + number
            tail = f"{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
            servers.append({**self._server, "id": server_id, "name": f"copy-{number}", "created_at": created})
            ports.append({**self._port, "id": port_id, "device_id": server_id, "mac": f"fa:17:00:{tail}"})
            addresses.append({**self._address, "port_id": port_id, "ip": str(FIRST + number)})
            groups.append({**self._group, "port_id": port_id})
        for table, rows in (
            (server, servers), (port, ports), (ip_allocation, addresses), (port_security_group, groups),
        ):  # fmt: skip
            tx.execute(sa.insert(table), rows)


def _row(tx: Tx, table: sa.Table, where: Any) -> dict[str, Any]:
    found = tx.one(sa.select(table).where(where))
    if found is None:
        raise LookupError(table.name)
    return dict(found._mapping)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--many", type=int, default=100_000)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    figures: list[Figure] = []
    with site({"api.workers": 1}) as cloud:
        (worker,) = cloud.pids("serve")
        server_id, _ = cloud.boot(cloud.template())
        pin(worker, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        for what, path, peer in (
            ("GET /servers/{id}", f"/compute/v2.1/servers/{server_id}", 51),
            ("GET /image/v2/images", "/image/v2/images", 357),
            ("GET /network/v2.0/networks", "/network/v2.0/networks", 95),
            ("GET /network/v2.0/ports", "/network/v2.0/ports", 243),
        ):
            by_clock, by_core = measure(cloud, worker, path, arguments.seconds)
            figures.append(Figure(what, by_clock, "req/s", GOAL, peer, more=True))
            figures.append(Figure(f"{what}, per second of processor time", by_core, "req/s", GOAL, more=True))
        copies = Copies(Database(DatabaseSettings(url=f"sqlite:///{_database(cloud)}")), server_id)
        for total in (999, arguments.many - 1):
            copies.make(total)
            middle, late = one_by_one(cloud, DETAIL, 20)
            name = f"GET /servers/detail, 1,000 of {total + 1:,} servers"
            figures.append(Figure(f"{name}, p50", middle, "ms", 50, 3518 if total == 999 else None))
            figures.append(Figure(f"{name}, p95", late, "ms"))
    show(f"one worker on one core, {UNDER_WAY} requests under way, {arguments.seconds:g} s each", figures)


def _database(cloud: Site) -> Path:
    return cloud.cloud.directory / "state/pileus.db"


if __name__ == "__main__":
    main()
