"""Who may do what: the personas of Keystone's defaults against the operations."""

import pytest

from pileus.identity.policy import RULES
from pileus.identity.routes import ROUTES
from pileus.kernel.policy import PUBLIC
from tests.identity.conftest import Cloud

NOBODY = "0" * 32
PERSONAS = ("anonymous", "member", "domain reader", "domain manager", "other manager", "system reader", "admin")


class Stage:
    """A domain with things in it, and a token for each persona."""

    def __init__(self, cloud: Cloud) -> None:
        domain, other = cloud.make("domain", name="far"), cloud.make("domain", name="other")
        self.domain = domain["id"]
        self.project = cloud.make("project", name="one", domain_id=self.domain)["id"]
        home = cloud.make("project", name="home", domain_id=self.domain)["id"]
        self.group = cloud.make("group", name="crew", domain_id=self.domain)["id"]
        self.user = cloud.make("user", name="target", domain_id=self.domain)["id"]
        self.role = cloud.make("role", name="operator")["id"]
        self.foreign_role = cloud.make("role", name="foreign", domain_id=other["id"])["id"]
        self.member_role = cloud.role("member")
        self.service = cloud.make("service", type="weather")["id"]

        def persona(role: str, place: str, scope: dict[str, object]) -> str:
            user = cloud.user_with(role, place, domain_id=self.domain)
            return cloud.token(scope, id=user["id"], password="secret")

        self.tokens: dict[str, str | None] = {
            "anonymous": None,
            "member": persona("member", f"projects/{home}", {"project": {"id": home}}),
            "domain reader": persona("reader", f"domains/{self.domain}", {"domain": {"id": self.domain}}),
            "domain manager": persona("manager", f"domains/{self.domain}", {"domain": {"id": self.domain}}),
            "other manager": persona("manager", f"domains/{other['id']}", {"domain": {"id": other["id"]}}),
            "system reader": persona("reader", "system", {"system": {"all": True}}),
            "admin": cloud.admin,
        }


# operation: path, body, and the personas (by initial, in the order above) to whom it is not refused
MATRIX = (
    ("GET", "/projects", None, "-,-,r,m,m,s,a"),
    ("GET", "/projects/{project}", None, "-,-,r,m,-,s,a"),
    ("POST", "/projects", {"project": {"name": "new", "domain_id": "{domain}"}}, "-,-,-,m,-,-,a"),
    ("PATCH", "/projects/{project}", {"project": {"description": "new"}}, "-,-,-,m,-,-,a"),
    ("DELETE", "/projects/{project}", None, "-,-,-,m,-,-,a"),
    ("DELETE", f"/projects/{NOBODY}", None, "-,-,-,-,-,-,a"),
    ("PUT", "/projects/{project}/tags/x", None, "-,-,-,m,-,-,a"),
    ("GET", "/domains", None, "-,-,r,m,m,s,a"),
    ("GET", "/domains/{domain}", None, "-,M,r,m,-,s,a"),
    ("POST", "/domains", {"domain": {"name": "new"}}, "-,-,-,-,-,-,a"),
    ("POST", "/projects", {"project": {"name": "new", "is_domain": True}}, "-,-,-,-,-,-,a"),
    ("PATCH", "/domains/{domain}", {"domain": {"description": "new"}}, "-,-,-,-,-,-,a"),
    ("GET", "/users", None, "-,-,r,m,m,s,a"),
    ("GET", "/users/{user}", None, "-,-,r,m,-,s,a"),
    ("GET", f"/users/{NOBODY}", None, "-,-,-,-,-,s,a"),
    ("POST", "/users", {"user": {"name": "new", "domain_id": "{domain}"}}, "-,-,-,m,-,-,a"),
    ("PATCH", "/users/{user}", {"user": {"password": "new"}}, "-,-,-,m,-,-,a"),
    ("DELETE", "/users/{user}", None, "-,-,-,m,-,-,a"),
    ("DELETE", "/users/{user}/tokens", None, "-,-,-,-,-,-,a"),
    ("GET", "/groups/{group}/users", None, "-,-,r,m,-,s,a"),
    ("PUT", "/groups/{group}/users/{user}", None, "-,-,-,m,-,-,a"),
    ("GET", "/roles", None, "-,-,-,m,m,s,a"),
    ("POST", "/roles", {"role": {"name": "new"}}, "-,-,-,-,-,-,a"),
    ("PUT", "/roles/{role}/implies/{member_role}", None, "-,-,-,-,-,-,a"),
    ("GET", "/role_assignments", None, "-,-,r,m,m,s,a"),
    ("GET", "/projects/{project}/users/{user}/roles", None, "-,-,r,m,-,s,a"),
    ("GET", "/projects/{project}/users/{user}/roles/{role}", None, "-,-,r,m,-,s,a"),
    ("GET", "/projects/{project}/users/{user}/roles/{foreign_role}", None, "-,-,-,-,-,s,a"),
    ("PUT", "/projects/{project}/users/{user}/roles/{member_role}", None, "-,-,-,m,-,-,a"),
    ("PUT", "/projects/{project}/users/{user}/roles/{role}", None, "-,-,-,-,-,-,a"),
    ("PUT", "/domains/{domain}/groups/{group}/roles/{member_role}", None, "-,-,-,m,-,-,a"),
    ("PUT", "/domains/default/users/{user}/roles/{member_role}", None, "-,-,-,-,-,-,a"),
    ("PUT", "/system/users/{user}/roles/{member_role}", None, "-,-,-,-,-,-,a"),
    ("GET", "/system/users/{user}/roles", None, "-,-,-,-,-,s,a"),
    ("GET", "/regions", None, "-,M,r,m,m,s,a"),
    ("POST", "/regions", {"region": {"id": "new"}}, "-,-,-,-,-,-,a"),
    ("GET", "/services", None, "-,-,-,-,-,s,a"),
    ("DELETE", "/services/{service}", None, "-,-,-,-,-,-,a"),
    ("POST", "/policies", {"policy": {"type": "t", "blob": ""}}, "-,-,-,-,-,-,a"),
)


def _check(
    cloud: Cloud, stage: Stage, method: str, path: str, body: dict[str, dict[str, object]] | None, allowed: str
) -> None:
    if body is not None:
        body = {
            noun: {key: stage.domain if value == "{domain}" else value for key, value in attributes.items()}
            for noun, attributes in body.items()
        }
    for persona, mark in zip(PERSONAS, allowed.split(","), strict=True):
        result = cloud.call(method, path.format(**vars(stage)), body, token=stage.tokens[persona])
        refused = result.status_code in (401, 403)
        assert refused == (mark == "-"), f"{method} {path} as {persona}: {result.status_code} {result.text}"
        if refused:
            assert result.status_code == (401 if persona == "anonymous" else 403), f"{persona}: {result.text}"


def test_who_may_look(cloud: Cloud) -> None:
    stage = Stage(cloud)
    for row in MATRIX:
        if row[0] == "GET":
            _check(cloud, stage, *row)


@pytest.mark.parametrize("row", [row for row in MATRIX if row[0] != "GET"], ids=lambda row: f"{row[0]} {row[1]}")
def test_who_may_change(cloud: Cloud, row: tuple[str, str, dict[str, dict[str, object]] | None, str]) -> None:
    _check(cloud, Stage(cloud), *row)


def test_lists_for_a_domain_hold_nothing_else(cloud: Cloud) -> None:
    stage = Stage(cloud)
    token = stage.tokens["domain reader"]
    for listed in ("users", "groups", "projects"):
        things = cloud.call("GET", f"/{listed}", token=token).json[listed]
        assert {thing["domain_id"] for thing in things} == {stage.domain}
        assert cloud.call("GET", f"/{listed}?domain_id=default", token=token).json[listed] == []
    domains = cloud.call("GET", "/domains", token=token).json["domains"]
    assert [domain["id"] for domain in domains] == [stage.domain]
    assignments = cloud.call("GET", "/role_assignments", token=token).json["role_assignments"]
    seen = {one["scope"].get("domain", one["scope"].get("project", {})).get("id") for one in assignments}
    assert seen
    assert not seen & {"default", None}


def test_everybody_sees_themselves(cloud: Cloud) -> None:
    project = cloud.make("project", name="one")
    user = cloud.user_with("reader", f"projects/{project['id']}", name="ann")
    token = cloud.token({"project": {"id": project["id"]}}, id=user["id"], password="secret")
    own = (f"/users/{user['id']}", f"/users/{user['id']}/projects", f"/users/{user['id']}/groups",
           f"/projects/{project['id']}", "/domains/default", "/auth/catalog", "/regions")  # fmt: skip
    for path in own:
        assert cloud.call("GET", path, token=token).status_code == 200, path
    assert cloud.call("PATCH", f"/users/{user['id']}", {"user": {"enabled": True}}, token=token).status_code == 403


def test_forged_headers_mean_nothing(cloud: Cloud) -> None:
    forged = {"X_User_Id": "admin", "X_Roles": "admin", "X_Is_Admin": "1", "X_Project_Id": "admin"}
    assert cloud.call("GET", "/users", **forged).status_code == 401


def test_every_rule_exists_and_is_used() -> None:
    known = {rule.name for rule in RULES}
    used = {route.rule for route in ROUTES} - {PUBLIC}
    assert used <= known
    by_handlers = {f"identity:{verb}_domain_role{end}" for verb, end in
                   (("get", ""), ("list", "s"), ("create", ""), ("update", ""), ("delete", ""))}  # fmt: skip
    by_handlers.add("identity:get_security_compliance_domain_config")
    by_handlers |= {f"identity:list_{what}" for what in
                    ("role_assignments_for_tree", "trusts_for_trustor", "trusts_for_trustee")}  # fmt: skip
    operations = {name for name in known if name.startswith("identity:")}
    assert operations - used == by_handlers
