"""Who calls identity: users of two projects, of two domains and of the whole system, and a service."""

from typing import Any

from tests.access.stage import ADMIN, ANONYMOUS, MEMBER, READER, STRANGER, Stage
from tests.world import Api, World

MANAGER, SERVICE = "manager", "service"
DOMAIN_READER, DOMAIN_MANAGER, OTHER_DOMAIN = "domain reader", "domain manager", "other domain"
SYSTEM_READER, SYSTEM_ADMIN = "system reader", "system admin"
HERE = "default"
"""The domain of all personas but `OTHER_DOMAIN`, who manages another one."""
PERSONAS = (
    ANONYMOUS, READER, MEMBER, MANAGER, STRANGER, ADMIN, SERVICE, DOMAIN_READER, DOMAIN_MANAGER, OTHER_DOMAIN,
    SYSTEM_READER, SYSTEM_ADMIN,
)  # fmt: skip
PASSWORD = "the persona's password"


class DomainStage(Stage):
    """A cloud, and everybody in it. `there`: the other domain."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "")
        admin = world.admin
        self.there = str(admin.ok("POST", "/identity/v3/domains", {"domain": {"name": "there"}})["domain"]["id"])
        listed = admin.ok("GET", "/identity/v3/roles")["roles"]
        self.roles: dict[str, str] = {role["name"]: role["id"] for role in listed}
        on_project = (f"projects/{self.home}", {"project": {"id": self.home}})
        on_domain = (f"domains/{HERE}", {"domain": {"id": HERE}})
        on_there = (f"domains/{self.there}", {"domain": {"id": self.there}})
        on_system = ("system", {"system": {"all": True}})
        for persona, role, (place, scope) in (
            (MANAGER, "manager", on_project),
            (SERVICE, "service", on_project),
            (DOMAIN_READER, "reader", on_domain),
            (DOMAIN_MANAGER, "manager", on_domain),
            (OTHER_DOMAIN, "manager", on_there),
            (SYSTEM_READER, "reader", on_system),
            (SYSTEM_ADMIN, "admin", on_system),
        ):
            domain = self.there if persona == OTHER_DOMAIN else HERE
            made = {"user": {"name": persona, "password": PASSWORD, "domain_id": domain}}
            user = admin.ok("POST", "/identity/v3/users", made)["user"]["id"]
            admin.ok("PUT", f"/identity/v3/{place}/users/{user}/roles/{self.roles[role]}")
            self.enter(persona, self.login(user, PASSWORD, scope))
        self.apis = {persona: self.apis[persona] for persona in PERSONAS}

    def login(self, user_id: str, password: str, scope: Any) -> Api:
        """Log in with a password, for any scope."""
        answer = self.world.client.simulate_post("/identity/v3/auth/tokens", json=login(user_id, password, scope))
        assert answer.status_code == 201, answer.text
        return Api(self.world.client, answer.headers["X-Subject-Token"], user_id, self.home)

    def domain(self, kind: str) -> str:
        """The domain of a kind of thing: `there`, or here."""
        return self.there if kind == "there" else HERE


def login(user_id: str, password: str, scope: Any) -> dict[str, Any]:
    """The body of a login."""
    by_password = {"user": {"id": user_id, "password": password}}
    return {"auth": {"identity": {"methods": ["password"], "password": by_password}, "scope": scope}}
