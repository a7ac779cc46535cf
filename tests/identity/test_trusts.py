"""Trusts: what they give to whom, how often, handed on how far, and what ends them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.kernel.clock import iso_micro_z
from tests.identity.conftest import Cloud, Person

HOUR = 3_600_000_000


class Pair:
    """A trustor, a trustee, and how they trust each other."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.ann, self.bob = Person(cloud, "ann"), Person(cloud, "bob")

    def trust(self, status: int = 201, by: str | None = None, **attributes: Any) -> dict[str, Any]:
        """Let Ann trust Bob."""
        body = {
            "trustor_user_id": self.ann.id,
            "trustee_user_id": self.bob.id,
            "project_id": self.ann.project,
            "impersonation": True,
            "roles": [{"name": "member"}],
        } | attributes
        made: dict[str, Any] = self.ann.call("POST", "/OS-TRUST/trusts", {"trust": body}, status=status, token=by)
        return made.get("trust", made)

    def login(self, trust: dict[str, Any], status: int = 201, person: Person | None = None) -> Any:
        """Let somebody, else Bob, use a trust."""
        scope = {"OS-TRUST:trust": {"id": trust["id"]}}
        return self.cloud.authenticate((person or self.bob).password, scope, status=status)

    def token(self, trust: dict[str, Any], person: Person | None = None) -> str:
        token: str = self.login(trust, person=person).headers["X-Subject-Token"]
        return token


@pytest.fixture
def pair(cloud: Cloud) -> Pair:
    return Pair(cloud)


def test_a_trust_and_its_roles(pair: Pair) -> None:
    trust = pair.trust()
    assert trust["links"]["self"].endswith(f"/v3/OS-TRUST/trusts/{trust['id']}")
    assert trust["roles_links"]["self"].endswith(f"/v3/OS-TRUST/trusts/{trust['id']}/roles")
    expected = {
        "trustor_user_id": pair.ann.id, "trustee_user_id": pair.bob.id, "project_id": pair.ann.project,
        "impersonation": True, "expires_at": None, "remaining_uses": None, "redelegation_count": 0,
        "redelegated_trust_id": None, "deleted_at": None,
    }  # fmt: skip
    assert trust | expected == trust
    (role,) = trust["roles"]
    assert role["name"] == "member"
    path = f"/OS-TRUST/trusts/{trust['id']}"
    for person in (pair.ann, pair.bob):
        assert person.call("GET", path, status=200)["trust"] == trust
        assert person.call("GET", f"{path}/roles", status=200)["roles"] == [role]
        assert person.call("GET", f"{path}/roles/{role['id']}", status=200)["role"] == role
        person.call("HEAD", f"{path}/roles/{role['id']}", status=200)
        person.call("GET", f"{path}/roles/{pair.cloud.role('reader')}", status=404)
    stranger = Person(pair.cloud, "eve")
    for where in (path, f"{path}/roles", f"{path}/roles/{role['id']}"):
        stranger.call("GET", where, status=403)
    stranger.call("DELETE", path, status=403)
    pair.bob.call("DELETE", path, status=403)
    pair.ann.call("DELETE", path, status=204)
    pair.ann.call("GET", path, status=404)


def test_lists(pair: Pair) -> None:
    trust = pair.trust()
    listed = {key: value for key, value in trust.items() if key not in ("roles", "roles_links")}
    by_ann, by_bob = f"trustor_user_id={pair.ann.id}", f"trustee_user_id={pair.bob.id}"
    for person, query in ((pair.ann, by_ann), (pair.bob, by_bob)):
        assert person.call("GET", f"/OS-TRUST/trusts?{query}", status=200)["trusts"] == [listed]
        person.call("GET", "/OS-TRUST/trusts", status=403)
        person.call("GET", f"/OS-TRUST/trusts?{by_ann}&{by_bob}", status=403)
    pair.bob.call("GET", f"/OS-TRUST/trusts?{by_ann}", status=403)
    assert pair.cloud.ok("GET", "/OS-TRUST/trusts")["trusts"] == [listed]
    assert pair.cloud.ok("GET", f"/OS-TRUST/trusts?trustor_user_id={pair.bob.id}")["trusts"] == []


@pytest.mark.parametrize("impersonation", [True, False])
def test_a_trusts_token(pair: Pair, impersonation: bool) -> None:
    trust = pair.trust(impersonation=impersonation)
    answer = pair.login(trust)
    token = answer.json["token"]
    assert token["OS-TRUST:trust"] == {
        "id": trust["id"],
        "impersonation": impersonation,
        "trustor_user": {"id": pair.ann.id},
        "trustee_user": {"id": pair.bob.id},
    }
    assert token["user"]["id"] == (pair.ann if impersonation else pair.bob).id
    assert token["project"]["id"] == pair.ann.project
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}
    actor = pair.cloud.identity.authenticate(answer.headers["X-Subject-Token"])
    assert (actor.user_id, actor.project_id, actor.trust_id) == (token["user"]["id"], pair.ann.project, trust["id"])


def test_who_may_use_a_trust(pair: Pair) -> None:
    trust = pair.trust()
    pair.login(trust, 403, person=pair.ann)
    pair.login(trust, 403, person=Person(pair.cloud, "eve"))
    pair.login({"id": "0" * 32}, 401)
    by_token = {"token": {"id": pair.bob.token}}
    pair.cloud.clock.advance(60)
    answer = pair.cloud.authenticate(by_token, {"OS-TRUST:trust": {"id": trust["id"]}})
    assert answer.json["token"]["expires_at"] == iso_micro_z(pair.cloud.clock.now() - 60_000_000 + HOUR)


REFUSED: tuple[tuple[dict[str, Any], int], ...] = (
    ({"trustee_user_id": "0" * 32}, 404),
    ({"project_id": "0" * 32}, 404),
    ({"roles": []}, 403),
    ({"roles": [{"name": "admin"}]}, 404),
    ({"roles": [{"name": "nothing"}]}, 404),
    ({"roles": [{"id": "0" * 32}]}, 404),
    ({"roles": [{}]}, 400),
    ({"expires_at": "bad.123Z"}, 400),
    ({"expires_at": "2001-01-01T00:00:00Z"}, 400),
    ({"remaining_uses": 0}, 400),
    ({"impersonation": None}, 400),
    ({"allow_redelegation": True, "remaining_uses": 2}, 400),
    ({"allow_redelegation": True, "redelegation_count": 4}, 403),
)


def test_refused_trusts(pair: Pair) -> None:
    for attributes, status in REFUSED:
        pair.trust(status, **attributes)
    pair.trust(403, trustor_user_id=pair.bob.id)
    pair.trust(404, project_id=pair.bob.project)


def test_a_trust_ends_and_its_tokens_with_it(pair: Pair) -> None:
    ends = iso_micro_z(pair.cloud.clock.now() + HOUR // 2)
    trust = pair.trust(expires_at=ends)
    assert trust["expires_at"] == ends
    answer = pair.login(trust)
    assert answer.json["token"]["expires_at"] == ends
    pair.cloud.clock.advance(1800)
    assert pair.cloud.call("GET", "/auth/projects", token=answer.headers["X-Subject-Token"]).status_code == 401
    pair.login(trust, 401)
    pair.ann.call("GET", f"/OS-TRUST/trusts/{trust['id']}", status=404)


Change = Callable[[Pair, dict[str, Any]], object]
ENDINGS: dict[str, Change] = {
    "trust deleted": lambda p, t: p.ann.call("DELETE", f"/OS-TRUST/trusts/{t['id']}", status=204),
    "trustor loses the role": lambda p, _: p.cloud.ok(
        "DELETE", f"/projects/{p.ann.project}/users/{p.ann.id}/roles/{p.cloud.role('member')}"
    ),
    "trustor disabled": lambda p, _: p.cloud.ok("PATCH", f"/users/{p.ann.id}", {"user": {"enabled": False}}),
    "trustor deleted": lambda p, _: p.cloud.ok("DELETE", f"/users/{p.ann.id}"),
    "trustee deleted": lambda p, _: p.cloud.ok("DELETE", f"/users/{p.bob.id}"),
    "project deleted": lambda p, _: p.cloud.ok("DELETE", f"/projects/{p.ann.project}"),
    "role deleted": lambda p, _: p.cloud.ok("DELETE", f"/roles/{p.cloud.role('operator')}"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_ends_a_trust_voids_its_tokens_at_once(cloud: Cloud, ending: str) -> None:
    cloud.make("role", name="operator")
    pair = Pair(cloud)
    cloud.ok("PUT", f"/projects/{pair.ann.project}/users/{pair.ann.id}/roles/{cloud.role('operator')}")
    trust = pair.trust(roles=[{"name": "operator"}] if ending == "role deleted" else [{"name": "member"}])
    token, neighbour = pair.token(trust), cloud.node()
    assert neighbour.call("GET", "/auth/projects", token=token).status_code == 200
    ENDINGS[ending](pair, trust)
    assert neighbour.call("GET", "/auth/projects", token=token).status_code == 401
    if ending not in ("trustee deleted",):
        gone = ending in ("trust deleted", "trustor deleted", "project deleted")
        pair.login(trust, 401 if gone else 403)


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_another_password_voids_tokens_and_leaves_the_trust(pair: Pair, who: str) -> None:
    trust = pair.trust()
    token = pair.token(trust)
    person = getattr(pair, who)
    pair.cloud.ok("PATCH", f"/users/{person.id}", {"user": {"password": "another"}})
    assert pair.cloud.call("GET", "/auth/projects", token=token).status_code == 401
    person.password["password"]["user"]["password"] = "another"
    pair.token(trust)


def test_uses_are_counted(pair: Pair) -> None:
    trust = pair.trust(remaining_uses=2)
    first = pair.token(trust)
    pair.login(trust)
    pair.login(trust, 401)
    pair.ann.call("GET", f"/OS-TRUST/trusts/{trust['id']}", status=404)
    pair.cloud.call("POST", "/regions", {"region": {"id": "x"}}, token=pair.cloud.admin)
    assert pair.cloud.identity.authenticate(first).trust_id == trust["id"], "what was gained stays"
    failed = pair.trust(remaining_uses=1, roles=[{"name": "reader"}])
    pair.login(failed, 403, person=pair.ann)
    pair.login(failed)


def test_uses_are_counted_under_concurrency(any_cloud: Cloud) -> None:
    pair = Pair(any_cloud)
    trust = pair.trust(remaining_uses=5)
    auth = {
        "identity": {"methods": ["token"], "token": {"id": pair.bob.token}},
        "scope": {"OS-TRUST:trust": {"id": trust["id"]}},
    }
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: any_cloud.call("POST", "/auth/tokens", {"auth": auth}).status_code, range(16))
        )
    assert answers.count(201) == 5
    assert set(answers) <= {201, 401, 403}
    with any_cloud.db.read() as tx:
        assert tx.scalar(sa.text("SELECT remaining_uses FROM identity_trust")) == 0


def test_a_trusts_token_is_not_exchanged_and_makes_no_trust(pair: Pair) -> None:
    trust = pair.trust()
    token = pair.token(trust)
    for scope in (pair.ann.scope, "unscoped", {"OS-TRUST:trust": {"id": trust["id"]}}):
        pair.cloud.authenticate({"token": {"id": token}}, scope, status=403)
    pair.trust(403, by=token)
    body = {"application_credential": {"name": "app"}}
    pair.ann.call("POST", f"/users/{pair.ann.id}/application_credentials", body, token=token, status=403)
    pair.ann.call("DELETE", f"/OS-TRUST/trusts/{trust['id']}", token=token, status=204)


class Chain(Pair):
    """Ann trusts Bob, who may hand that on; Cid comes next."""

    def __init__(self, cloud: Cloud, **first: Any) -> None:
        super().__init__(cloud)
        self.cid = Person(cloud, "cid")
        roles = [{"name": "member"}, {"name": "reader"}]
        self.first = self.trust(**({"allow_redelegation": True, "roles": roles} | first))

    def hand_on(self, status: int = 201, source: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
        """Let Bob hand it on to Cid."""
        token = self.token(source or self.first)
        return self.trust(status, token, **({"trustee_user_id": self.cid.id, "allow_redelegation": True} | attributes))


def test_handing_on(cloud: Cloud) -> None:
    chain = Chain(cloud)
    assert chain.first["redelegation_count"] == 3
    second = chain.hand_on()
    assert (second["redelegation_count"], second["redelegated_trust_id"]) == (2, chain.first["id"])
    token = chain.login(second, person=chain.cid).json["token"]
    assert token["user"]["id"] == chain.ann.id
    assert chain.hand_on(redelegation_count=2)["redelegation_count"] == 2
    last = chain.hand_on(allow_redelegation=False)
    assert last["redelegation_count"] == 0
    by_cid = chain.token(last, chain.cid)
    chain.trust(403, by_cid, trustee_user_id=chain.bob.id)


@pytest.mark.parametrize(
    "attributes",
    [
        {"redelegation_count": 1},
        {"expires_at": "2023-11-15T00:00:00Z"},
        {"roles": [{"name": "operator"}]},
        {"project_id": None},
    ],
)
def test_handing_on_gives_no_more(cloud: Cloud, attributes: dict[str, Any]) -> None:
    cloud.make("role", name="operator")
    chain = Chain(cloud, expires_at="2023-11-14T23:00:00Z")
    cloud.ok("PUT", f"/projects/{chain.ann.project}/users/{chain.ann.id}/roles/{cloud.role('operator')}")
    chain.hand_on(403, **attributes)
    assert chain.hand_on()["expires_at"] == "2023-11-14T23:00:00.000000Z"


def test_handing_on_without_impersonation(cloud: Cloud) -> None:
    chain = Chain(cloud, impersonation=False)
    chain.hand_on(403)
    chain.hand_on(403, trustor_user_id=chain.bob.id)
    second = chain.hand_on(trustor_user_id=chain.bob.id, impersonation=False)
    token = chain.login(second, person=chain.cid).json["token"]
    assert token["user"]["id"] == chain.cid.id
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}


def test_the_depth_is_limited(cloud: Cloud) -> None:
    chain = Chain(cloud, redelegation_count=1)
    second = chain.hand_on()
    assert second["redelegation_count"] == 0
    chain.trust(403, chain.token(second, chain.cid), trustee_user_id=chain.bob.id)


def test_uses_cannot_be_handed_on(pair: Pair) -> None:
    trust = pair.trust(remaining_uses=5)
    pair.trust(403, pair.token(trust), trustee_user_id=Person(pair.cloud, "cid").id)


BREAKS: dict[str, Callable[[Chain], object]] = {
    "first deleted": lambda c: c.ann.call("DELETE", f"/OS-TRUST/trusts/{c.first['id']}", status=204),
    "first trustor loses the role": lambda c: c.cloud.ok(
        "DELETE", f"/projects/{c.ann.project}/users/{c.ann.id}/roles/{c.cloud.role('member')}"
    ),
    "one between disabled": lambda c: c.cloud.ok("PATCH", f"/users/{c.bob.id}", {"user": {"enabled": False}}),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_chain_is_as_strong_as_each_link(cloud: Cloud, broken: str) -> None:
    chain = Chain(cloud, impersonation=False)
    second = chain.hand_on(trustor_user_id=chain.bob.id, impersonation=False)
    token = chain.token(second, chain.cid)
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 200
    BREAKS[broken](chain)
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 401
    if broken == "first deleted":
        assert cloud.ok("GET", "/OS-TRUST/trusts")["trusts"] == []


def test_a_trust_without_a_project_gives_no_roles(pair: Pair) -> None:
    token = pair.login(pair.trust(project_id=None, roles=[])).json["token"]
    assert token["user"]["id"] == pair.ann.id
    assert not token.keys() & {"roles", "project", "catalog"}


def test_an_application_credential_hands_on_no_more_than_it_has(pair: Pair) -> None:
    other = pair.cloud.make("project", name="other")
    pair.cloud.ok("PUT", f"/projects/{other['id']}/users/{pair.ann.id}/roles/{pair.cloud.role('member')}")
    body = {"application_credential": {"name": "app", "unrestricted": True, "roles": [{"name": "reader"}]}}
    path = f"/users/{pair.ann.id}/application_credentials"
    made = pair.ann.call("POST", path, body, status=201)["application_credential"]
    login = {"application_credential": {"id": made["id"], "secret": made["secret"]}}
    token = pair.cloud.authenticate(login).headers["X-Subject-Token"]
    pair.trust(403, token)
    pair.trust(403, token, project_id=other["id"], roles=[{"name": "reader"}])
    pair.login(pair.trust(201, token, roles=[{"name": "reader"}]))
