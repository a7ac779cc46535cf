"""What identity does on one core: logins, validations of tokens, role assignments; with few users and with many.

`python -m bench.identity [--seconds 3] [--users 100000] [--projects 10000] [--assignments 10000]`. A real `pileus up`
with one worker, pinned to the first core, on SQLite; the client, raw sockets with 4 requests under way, is pinned to
the second. Rates are of the worker's own processor time: what one core gives when nobody else is using it. Passwords
are hashed with argon2id at OWASP's minimum, the default: 19 MiB, two passes, one lane. The many users are rows that the
benchmark writes into the database; each has a role on one of the many projects.
"""

import argparse
import os
import time
from typing import Any

import sqlalchemy as sa
from bench.support.http import Connection, rate_of
from bench.support.report import Figure, percentiles, show
from bench.support.site import Site, cpu_seconds, pin, site

from pileus.identity import models
from pileus.identity.domain import DEFAULT_DOMAIN
from pileus.identity.passwords import Passwords
from pileus.identity.settings import IdentitySettings
from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.ids import new_hex

V3 = "/identity/v3"
UNDER_WAY = 4
BATCH = 5000
LOGINS, VALIDATIONS, LIST = 20.0, 3000.0, 60.0
PASSWORD = "the password of all"


class Measured:
    """The worker, and what it costs it to answer."""

    def __init__(self, cloud: Site, worker: int, seconds: float) -> None:
        self._cloud = cloud
        self._worker = worker
        self._seconds = seconds

    def per_second(self, message: bytes, expected: int = 200) -> float:
        """Answers for each second of the worker's processor time."""
        connections = [self._cloud.connect() for _ in range(UNDER_WAY)]
        rate_of(connections, [message] * UNDER_WAY, 0.3, expected)
        before = cpu_seconds(self._worker)
        _, latencies = rate_of(connections, [message] * UNDER_WAY, self._seconds, expected)
        return len(latencies) / (cpu_seconds(self._worker) - before)

    def milliseconds(self, path: str, count: int = 30) -> tuple[float, float]:
        """Of the worker's processor time for one request, and the median that the client waits."""
        taken = []
        before = cpu_seconds(self._worker)
        for _ in range(count):
            begun = time.perf_counter()
            self._cloud.api.send(self._cloud.api.message("GET", path))
            status, _ = self._cloud.api.receive()
            taken.append((time.perf_counter() - begun) * 1000)
            assert status == 200
        return (cpu_seconds(self._worker) - before) * 1000 / count, percentiles(taken)[0]


def login(name: str, project_id: str) -> dict[str, Any]:
    """The body of a login with a password."""
    user = {"name": name, "domain": {"id": DEFAULT_DOMAIN}, "password": PASSWORD}
    identity = {"methods": ["password"], "password": {"user": user}}
    return {"auth": {"identity": identity, "scope": {"project": {"id": project_id}}}}


def populate(db: Database, role_id: str, users: int, projects: int, prefix: str) -> str:
    """Write users and projects into the database; the first project, on which the user `PREFIX-0` has the role."""
    hashed = Passwords(IdentitySettings()).hash(PASSWORD)
    place = {"namespace": DEFAULT_DOMAIN, "domain_id": DEFAULT_DOMAIN, "parent_id": DEFAULT_DOMAIN,
             "lineage": f"{DEFAULT_DOMAIN}/", "is_domain": False, "enabled": True, "description": "", "options": {},
             "extra": {}, "epoch": 0}  # fmt: skip
    project_ids = [new_hex() for _ in range(projects)]
    rows = [{"id": one, "name": f"{prefix}-{number}", **place} for number, one in enumerate(project_ids)]
    insert(db, models.project, rows)
    user_ids = [new_hex() for _ in range(users)]
    common = {"domain_id": DEFAULT_DOMAIN, "enabled": True, "options": {}, "extra": {}, "epoch": 0}
    insert(db, models.user, [{"id": one, "name": f"{prefix}-{n}", **common} for n, one in enumerate(user_ids)])
    insert(db, models.password, [{"user_id": one, "created_at": 1, "hash": hashed} for one in user_ids])
    insert(
        db, models.assignment, [assignment(one, project_ids[n % projects], role_id) for n, one in enumerate(user_ids)]
    )
    return project_ids[0]


def assignment(user_id: str, project_id: str, role_id: str) -> dict[str, Any]:
    """A row of an assignment on a project."""
    return {"actor_kind": "user", "actor_id": user_id, "target_kind": "project", "target_id": project_id,
            "role_id": role_id, "inherited": False}  # fmt: skip


def insert(db: Database, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert many rows."""
    for start in range(0, len(rows), BATCH):
        with db.write() as tx:
            tx.execute(sa.insert(table), rows[start : start + BATCH])


def token_of(cloud: Site, message: bytes) -> str:
    """The token that a login gives."""
    connection = cloud.connect()
    connection.send(message)
    return connection._token_of(connection._head_of_answer())


def measure(cloud: Site, measured: Measured, name: str, project_id: str) -> tuple[float, float, float]:
    """Logins, validations and catalogs per second, of a user with a token for a project."""
    message = cloud.api.message("POST", f"{V3}/auth/tokens", login(name, project_id))
    logins = measured.per_second(message, 201)
    token = token_of(cloud, message)
    validation = cloud.api.message("GET", f"{V3}/auth/tokens", X_Subject_Token=token)
    catalog = Connection(cloud.cloud.port, token).message("GET", f"{V3}/auth/catalog")
    return logins, measured.per_second(validation), measured.per_second(catalog)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--assignments", type=int, default=10_000)
    options = parser.parse_args()
    with site({"api.workers": 1}) as cloud:
        (worker,) = cloud.pids("serve-")
        cores = sorted(os.sched_getaffinity(0))
        pin(worker, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        measured = Measured(cloud, worker, options.seconds)
        db = Database(DatabaseSettings(url=f"sqlite:///{cloud.cloud.directory}/state/pileus.db"))
        role_id = cloud.api.ask("GET", f"{V3}/roles?name=member")[1]["roles"][0]["id"]
        few = measure(cloud, measured, "few-0", populate(db, role_id, 100, 100, "few"))
        crowd = populate(db, role_id, options.assignments, 1, "crowd")
        page, waited = measured.milliseconds(f"{V3}/role_assignments?scope.project.id={crowd}")
        many = measure(cloud, measured, "many-0", populate(db, role_id, options.users, options.projects, "many"))
        db.close()
    figures = []
    for what, goal, before, after in zip(
        ("password logins", "validations of a token", "catalogs"), (LOGINS, VALIDATIONS, None), few, many, strict=True
    ):
        figures.append(Figure(f"{what}, 100 users and projects", before, "/s", goal, more=True))
        words = f"{what}, {options.users:,} users, {options.projects:,} projects"
        figures.append(Figure(words, after, "/s", before * 0.9, more=True))
    figures.append(Figure(f"list of {options.assignments:,} role assignments, processor time", page, "ms", LIST))
    figures.append(Figure("the same, as the client waits", waited, "ms"))
    show(
        "One worker on one core, argon2id with 19 MiB, 2 passes, 1 lane; rates of the worker's processor time.", figures
    )


if __name__ == "__main__":
    main()
