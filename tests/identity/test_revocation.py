"""What voids a token voids it at once, in every process of the machine, and within a second on others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from pileus.identity.service import Identity
from pileus.identity.tokens.verified import Cache
from pileus.kernel.clock import iso_micro_z
from pileus.kernel.errors import Unauthorized
from tests.identity.conftest import Cloud

Change = Callable[[Cloud, dict[str, Any], dict[str, Any]], object]


def valid(identity: Identity, token: str) -> bool:
    """Whether a process takes the token."""
    try:
        identity.authenticate(token)
    except Unauthorized:
        return False
    return True


def _through_group(cloud: Cloud, user: dict[str, Any], project: dict[str, Any]) -> None:
    group = cloud.make("group", name="crew")
    cloud.ok("PUT", f"/groups/{group['id']}/users/{user['id']}")
    member = f"/projects/{project['id']}/{{}}/roles/{cloud.role('member')}"
    cloud.ok("PUT", member.format(f"groups/{group['id']}"))
    cloud.ok("DELETE", member.format(f"users/{user['id']}"))
    cloud.ok("DELETE", f"/groups/{group['id']}/users/{user['id']}")


CHANGES: dict[str, Change] = {
    "user disabled": lambda c, u, _: c.ok("PATCH", f"/users/{u['id']}", {"user": {"enabled": False}}),
    "user disabled and enabled": lambda c, u, _: [
        c.ok("PATCH", f"/users/{u['id']}", {"user": {"enabled": on}}) for on in (False, True)
    ],
    "user deleted": lambda c, u, _: c.ok("DELETE", f"/users/{u['id']}"),
    "password set": lambda c, u, _: c.ok("PATCH", f"/users/{u['id']}", {"user": {"password": "another"}}),
    "password changed": lambda c, u, _: c.ok(
        "POST",
        f"/users/{u['id']}/password",
        {"user": {"password": "another", "original_password": "secret"}},
        status=204,
    ),
    "all tokens revoked": lambda c, u, _: c.ok("DELETE", f"/users/{u['id']}/tokens"),
    "role taken away": lambda c, u, p: c.ok("DELETE", f"/projects/{p['id']}/users/{u['id']}/roles/{c.role('member')}"),
    "left the group": _through_group,
    "project disabled and enabled": lambda c, _, p: [
        c.ok("PATCH", f"/projects/{p['id']}", {"project": {"enabled": on}}) for on in (False, True)
    ],
    "project deleted": lambda c, _, p: c.ok("DELETE", f"/projects/{p['id']}"),
    "domain disabled": lambda c, u, _: c.ok("PATCH", f"/domains/{u['domain_id']}", {"domain": {"enabled": False}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_in_force_at_once_in_another_process(cloud: Cloud, change: str) -> None:
    domain = cloud.make("domain", name="far")
    project = cloud.make("project", name="one", domain_id=domain["id"])
    user = cloud.user_with("member", f"projects/{project['id']}", name="ann", domain_id=domain["id"])
    token = cloud.token({"project": {"id": project["id"]}}, id=user["id"], password="secret")
    neighbour = cloud.node()
    assert valid(neighbour.identity, token)
    CHANGES[change](cloud, user, project)
    assert not valid(neighbour.identity, token)
    assert not valid(cloud.identity, token)


def test_another_machine_hears_within_a_second(any_cloud: Cloud, tmp_path: Path) -> None:
    cloud = any_cloud
    token, far = cloud.token(), cloud.node(tmp_path / "other machine")
    assert valid(far.identity, token)
    assert cloud.call("DELETE", "/auth/tokens", token=cloud.admin, X_Subject_Token=token).status_code == 204
    assert valid(far.identity, token), "it has looked less than a second ago"
    cloud.clock.advance(1.0)
    assert not valid(far.identity, token)


def test_a_cached_token_needs_no_database(cloud: Cloud) -> None:
    token = cloud.token()
    assert valid(cloud.identity, token)
    reads = []
    sa.event.listen(cloud.db.engine, "before_cursor_execute", lambda *args: reads.append(args[2]))
    for _ in range(100):
        assert valid(cloud.identity, token)
    assert reads == []


def test_roles_are_as_of_now_in_existing_tokens(cloud: Cloud) -> None:
    project = cloud.make("project", name="one")
    user = cloud.user_with("reader", f"projects/{project['id']}", name="ann")
    token = cloud.token({"project": {"id": project["id"]}}, id=user["id"], password="secret")
    assert cloud.identity.authenticate(token).roles == {"reader"}
    cloud.ok("PUT", f"/projects/{project['id']}/users/{user['id']}/roles/{cloud.role('admin')}")
    assert cloud.identity.authenticate(token).roles == {"admin", "manager", "member", "reader"}
    assert cloud.identity.authenticate(token).is_admin


def test_tokens_end(cloud: Cloud) -> None:
    token = cloud.token()
    cloud.clock.advance(cloud.settings.token_lifetime - 1)
    assert valid(cloud.identity, token)
    cloud.clock.advance(1)
    assert not valid(cloud.identity, token)


def test_the_cache_is_bounded(cloud: Cloud) -> None:
    verified = cloud.identity.tokens.verify(cloud.admin)
    assert verified is not None
    cache = Cache(16)
    for number in range(100):
        cache.put(b"%d" % number, 1, verified)
    assert len(cache) == 16
    assert cache.get(b"99", 1, cloud.clock.now()) is verified
    assert cache.get(b"0", 1, cloud.clock.now()) is None
    assert cache.get(b"99", 2, cloud.clock.now()) is None
    assert cache.get(b"99", 1, verified.claims.expires_at) is None


@pytest.mark.parametrize(
    "alter", [lambda t: t[:-4], lambda t: t[:20] + "AAAA" + t[24:], lambda t: "x" * 5000, str.lower]
)
def test_altered_tokens_are_refused(cloud: Cloud, alter: Callable[[str], str]) -> None:
    altered = alter(cloud.token())
    assert not valid(cloud.identity, altered)
    assert cloud.call("GET", "/auth/projects", token=altered).status_code == 401


def test_what_an_old_transaction_sees_is_not_remembered(any_cloud: Cloud) -> None:
    """One that began to read before a change must not fill what all others look into after it."""
    cloud = any_cloud
    project = cloud.make("project", name="one")["id"]
    user = cloud.user_with("member", f"projects/{project}")
    implication = f"/roles/{cloud.role('member')}/implies/{cloud.role('reader')}"
    with cloud.db.read() as old:
        place = cloud.identity.projects.find(old, project)
        assert place is not None
        cloud.ok("DELETE", implication)
        cloud.ok("PATCH", f"/services/{cloud.ok('GET', '/services?type=image')['services'][0]['id']}",
                 {"service": {"enabled": False}})  # fmt: skip
        cloud.identity.roles.on_project(old, user["id"], place)
        cloud.identity.catalog.of(old, user["id"], project)
    token = cloud.login({"project": {"id": project}}, id=user["id"], password="secret").json["token"]
    assert [role["name"] for role in token["roles"]] == ["member"]
    assert "image" not in {service["type"] for service in token["catalog"]}


def test_what_a_transaction_has_changed_itself_is_not_remembered(any_cloud: Cloud) -> None:
    """It may yet be rolled back."""
    cloud = any_cloud
    project = cloud.make("project", name="one")["id"]
    user = cloud.user_with("member", f"projects/{project}")
    with pytest.raises(ZeroDivisionError), cloud.db.write() as tx:
        place, implied = cloud.identity.projects.find(tx, project), cloud.identity.roles.find(tx, cloud.role("admin"))
        prior = cloud.identity.roles.find(tx, cloud.role("member"))
        assert place is not None
        assert prior is not None
        assert implied is not None
        cloud.identity.roles.imply(tx, prior, msgspec.structs.replace(implied, name="other"))
        cloud.generation.bump()  # so that it is this transaction that reads everything anew
        assert "admin" in {role.name for role in cloud.identity.roles.on_project(tx, user["id"], place)}
        raise ZeroDivisionError
    token = cloud.login({"project": {"id": project}}, id=user["id"], password="secret").json["token"]
    assert sorted(role["name"] for role in token["roles"]) == ["member", "reader"]


def test_revoked_tokens_are_listed(any_cloud: Cloud) -> None:
    cloud = any_cloud
    project = cloud.make("project", name="one")["id"]
    user = cloud.user_with("member", f"projects/{project}")
    who = {"id": user["id"], "password": "secret"}
    revoked = []
    for _ in range(2):
        cloud.clock.advance(1)
        login = cloud.login({"project": {"id": project}}, **who)
        token = login.headers["X-Subject-Token"]
        assert cloud.call("DELETE", "/auth/tokens", token=token, X_Subject_Token=token).status_code == 204
        revoked.append((login.json["token"]["audit_ids"][0], iso_micro_z(cloud.clock.now())))
    answer = cloud.ok("GET", "/OS-REVOKE/events")
    assert answer["links"]["self"].endswith("/identity/v3/OS-REVOKE/events")
    expected = [{"audit_id": audit_id, "issued_before": at, "revoked_at": at} for audit_id, at in revoked]
    assert answer["events"] == expected
    assert cloud.ok("GET", f"/OS-REVOKE/events?since={revoked[0][1]}")["events"] == expected[1:]
    assert cloud.call("GET", "/OS-REVOKE/events?since=yesterday", token=cloud.admin).status_code == 400
    mine = cloud.token({"project": {"id": project}}, **who)
    assert cloud.call("GET", "/OS-REVOKE/events", token=mine).status_code == 403
