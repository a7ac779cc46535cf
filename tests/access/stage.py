"""Who calls and what there is: a cloud with one user for each persona, and things for them to call about."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.policy import Target
from pileus.migrations.tables import all_tables
from tests.world import Api, World

ANONYMOUS, READER, MEMBER, STRANGER, ADMIN = PERSONAS = ("anonymous", "reader", "member", "stranger", "admin")
"""`reader` and `member` are of the project that owns all things, `stranger` is a member of another one."""


@dataclass(frozen=True)
class Thing:
    """What a request is about.

    `params` fill the route's path. `target`: what the policy is asked about, for this caller; None: what is the
    caller's own. `seen_by`: whether this caller knows that the thing is there at all. `headers` and `body` belong to
    the request.
    """

    params: Mapping[str, str]
    target: Callable[[Actor], Target] | None = None
    seen_by: Callable[[Actor], bool] = lambda _actor: True
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


class Stage:
    """A cloud, and everybody in it. `url`: where on the web there is something."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        self.url = url
        home, elsewhere = world.member("home"), world.member("elsewhere")
        self.apis: dict[str, Api] = {
            ANONYMOUS: Api(world.client, "", "", ""),
            READER: self._reader(home.project_id),
            MEMBER: home,
            STRANGER: elsewhere,
            ADMIN: world.admin,
        }
        self.actors: dict[str, Actor | None] = {}
        for name, api in tuple(self.apis.items()):
            self.enter(name, api)
        self._tables = tuple(all_tables().tables)
        self._remembered: dict[str, Any] = {}
        self._version: object = None
        self._watch = sqlite3.connect(str(world.db.engine.url.database))
        self._numbers = count(1)

    @property
    def home(self) -> str:
        """The project that owns all things."""
        return self.apis[MEMBER].project_id

    @property
    def elsewhere(self) -> str:
        """The other project."""
        return self.apis[STRANGER].project_id

    def enter(self, persona: str, api: Api) -> None:
        """Have a persona on the stage."""
        self.apis[persona] = api
        self.actors[persona] = self.world.cloud.identity.authenticate(api.token) if api.token else None

    def new_name(self) -> str:
        """A name that nothing has."""
        return f"thing-{next(self._numbers)}"

    def state(self) -> dict[str, Any]:
        """All that the cloud remembers: every table's rows and every file's size."""
        directory = self.world.cloud_settings.image.files_dir.parent
        files = {str(path): path.stat().st_size for path in directory.rglob("*") if ".db" not in path.name}
        return {**self._rows(), "files": files}

    def _rows(self) -> dict[str, Any]:
        """Every table's rows. They are read again only when a transaction has been committed in between."""
        version = self._watch.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            with self.world.db.read() as tx:
                self._remembered = {
                    name: set(tx.connection.exec_driver_sql(f"SELECT * FROM {name}"))  # noqa: S608 - our own names
                    for name in self._tables
                }
            self._version = version
        return self._remembered

    def close(self) -> None:
        """Let go of the database."""
        self._watch.close()

    def _reader(self, project: str) -> Api:
        admin = self.world.admin
        user = admin.ok("POST", "/identity/v3/users", {"user": {"name": "reader", "password": "the reader's"}})["user"]
        role = admin.ok("GET", "/identity/v3/roles?name=reader")["roles"][0]["id"]
        admin.ok("PUT", f"/identity/v3/projects/{project}/users/{user['id']}/roles/{role}")
        return self.world.login("reader", "the reader's", "home")
