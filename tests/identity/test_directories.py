"""Domains whose users are in LDAP, against a real slapd."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pileus.identity.directories import mirror
from pileus.identity.directories.directory import Directory
from pileus.identity.directories.domain import Entry
from pileus.identity.directories.options import options_of
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from pileus.kernel.errors import Unavailable
from tests.identity.conftest import Cloud, cloud_on
from tests.identity.ldap_server import READER, READER_PASSWORD, SUFFIX, LdapServer, group, user

PEOPLE = "".join(
    (
        user("ann", "Ann", "password of ann", mail="ann@house.example", description="first", employeeNumber="7"),
        user("bob", "Bob", "password of bob"),
        user("locked", "Locked", "password of locked", employeeType="FALSE"),
        user("smith1", "Smith", "password of smith1"),
        user("smith2", "Smith", "password of smith2"),
        user("star", "Star*", "password of star"),
        user("nopass", "Nopass"),
        *(user(f"many{number}", f"Many {number}") for number in range(9)),
        group("crew", "Crew", "ann", "smith2"),
        group("guests", "Guests", "bob"),
    )
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LdapServer]:
    made = LdapServer(tmp_path / "ldap")
    made.add(PEOPLE)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def settings(settings: IdentitySettings) -> IdentitySettings:
    return replace(settings, directory_refresh=60.0)


def config(server: LdapServer, **options: Any) -> dict[str, Any]:
    """The options of `[ldap]` for a domain."""
    return {
        "url": server.url,
        "suffix": SUFFIX,
        "user": READER,
        "password": READER_PASSWORD,
        "page_size": 4,
        "user_enabled_attribute": "employeeType",
        "user_additional_attribute_mapping": ["employeeNumber:number"],
        **options,
    }


class House:
    """A cloud with a domain that is in the directory."""

    def __init__(self, cloud: Cloud, server: LdapServer, **options: Any) -> None:
        self.cloud = cloud
        self.server = server
        self.domain: str = cloud.make("domain", name="house")["id"]
        self.configure(**options)

    def configure(self, **options: Any) -> None:
        body = {"config": {"identity": {"driver": "ldap"}, "ldap": config(self.server, **options)}}
        result = self.cloud.call("PUT", f"/domains/{self.domain}/config", body, token=self.cloud.admin)
        assert result.status_code in (200, 201), result.text

    def users(self, **query: str) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self._list("users", **query)}

    def groups(self, **query: str) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self._list("groups", **query)}

    def _list(self, what: str, **query: str) -> list[dict[str, Any]]:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        found: list[dict[str, Any]] = self.cloud.ok("GET", f"/{what}?domain_id={self.domain}{more}")[what]
        return found

    def login(self, name: str, password: str | None = None, scope: Any = None, status: int = 201) -> Any:
        given = f"password of {name.lower()}" if password is None else password
        return self.cloud.login(scope, status=status, name=name, domain={"id": self.domain}, password=given)

    def later(self) -> None:
        """Until lists are read anew."""
        self.cloud.clock.advance(61)


@pytest.fixture
def house(any_cloud: Cloud, server: LdapServer) -> House:
    return House(any_cloud, server)


@pytest.fixture
def one_house(cloud: Cloud, server: LdapServer) -> House:
    """On SQLite alone."""
    return House(cloud, server)


def test_users_and_groups(house: House) -> None:
    users, groups = house.users(), house.groups()
    assert len(users) == 16, "more than the server gives at once"
    ann = users["Ann"]
    assert ann == {
        "id": mirror.public_id(house.domain, "user", "ann"),
        "name": "Ann",
        "domain_id": house.domain,
        "enabled": True,
        "options": {},
        "password_expires_at": None,
        "email": "ann@house.example",
        "description": "first",
        "number": "7",
        "links": {"self": f"http://cloud.example/identity/v3/users/{ann['id']}"},
    }
    assert [users[name]["enabled"] for name in ("Bob", "Locked")] == [True, False]
    assert {"Smith", "Smith (smith2)"} <= users.keys()
    assert groups.keys() == {"Crew", "Guests"}
    assert house.cloud.ok("GET", f"/users/{ann['id']}")["user"] == ann
    assert house.users(name="Ann") == {"Ann": ann}
    assert house.users(name="ann") == {}, "names are meant to the letter"
    assert house.users(enabled="false").keys() == {"Locked"}
    members = house.cloud.ok("GET", f"/groups/{groups['Crew']['id']}/users")["users"]
    assert {one["name"] for one in members} == {"Ann", "Smith (smith2)"}
    [of_ann] = house.cloud.ok("GET", f"/users/{ann['id']}/groups")["groups"]
    assert of_ann["id"] == groups["Crew"]["id"]
    member = f"/groups/{groups['Crew']['id']}/users"
    house.cloud.ok("HEAD", f"{member}/{ann['id']}", status=204)
    assert house.cloud.call("HEAD", f"{member}/{users['Bob']['id']}", token=house.cloud.admin).status_code == 404


def test_logins(house: House) -> None:
    cloud = house.cloud
    project = cloud.make("project", name="one")["id"]
    crew = house.groups(name="Crew")["Crew"]["id"]
    cloud.ok("PUT", f"/projects/{project}/groups/{crew}/roles/{cloud.role('member')}")
    scope = {"project": {"id": project}}
    shown = house.login("Ann", scope=scope).json["token"]
    assert shown["user"]["domain"] == {"id": house.domain, "name": "house"}
    assert sorted(role["name"] for role in shown["roles"]) == ["member", "reader"]
    by_id = cloud.login(scope, id=shown["user"]["id"], password="password of ann").json["token"]
    assert by_id["user"] == shown["user"]
    by_domain_name = {"name": "Ann", "domain": {"name": "house"}, "password": "password of ann"}
    assert cloud.login(**by_domain_name).json["token"]["user"] == shown["user"]
    house.login("Bob", scope=scope, status=401)
    own = house.users(name="Bob")["Bob"]["id"]
    cloud.ok("PUT", f"/projects/{project}/users/{own}/roles/{cloud.role('reader')}")
    token = house.login("Bob", scope=scope)
    assert [role["name"] for role in token.json["token"]["roles"]] == ["reader"]
    listed = cloud.ok("GET", f"/role_assignments?scope.project.id={project}&effective&include_names")
    named = {(one["user"]["name"], one["role"]["name"]) for one in listed["role_assignments"]}
    assert {("Ann", "member"), ("Ann", "reader"), ("Bob", "reader")} <= named


def test_a_directory_seen_by_many_at_once(house: House) -> None:
    """Several processes list and log in for the first time: nobody hears of the others."""
    cloud = house.cloud
    nodes = [cloud.node() for _ in range(4)]
    start = threading.Barrier(8)

    def work(number: int) -> int:
        node = nodes[number % 4]
        start.wait()
        if number < 4:
            return node.call("GET", f"/users?domain_id={house.domain}", token=cloud.admin).status_code
        who = {"name": "Ann", "domain": {"id": house.domain}, "password": "password of ann"}
        return node.login(**who).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [200] * 4 + [201] * 4
    assert len(house.users()) == 16


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("Ann", "password of bob"),
        ("Ann", ""),
        ("Nopass", ""),
        ("Nopass", "x"),
        ("Nobody", "x"),
        ("Locked", "password of locked"),
        ("Smith", "password of smith1"),
        ("ann", "password of ann"),
        ("*", "password of ann"),
        ("A*", "password of ann"),
        ("Ann)(objectClass=*", "password of ann"),
        ("*)(|(sn=*", "password of ann"),
        ("Ann\\2a", "password of ann"),
        ("Ann\u0000", "password of ann"),
    ],
)
def test_logins_that_are_refused(one_house: House, name: str, password: str) -> None:
    """Wrong, empty, missing passwords; locked users; names that two have; names that would be filters."""
    answer = one_house.cloud.call(
        "POST",
        "/auth/tokens",
        {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": name, "domain": {"id": one_house.domain}, "password": password}},
                }
            }
        },
    )
    assert answer.status_code in (400, 401), answer.text
    if "\0" not in name:
        assert answer.json["error"]["message"] == "The request you have made requires authentication."


def test_a_name_is_no_filter(one_house: House) -> None:
    assert one_house.login("Star*", "password of star").json["token"]["user"]["name"] == "Star*"
    assert one_house.users(name="*") == {}


def test_nothing_is_written(one_house: House) -> None:
    cloud = one_house.cloud
    ann, crew = one_house.users()["Ann"]["id"], one_house.groups()["Crew"]["id"]
    own_group, own_user = cloud.make("group", name="g")["id"], cloud.make("user", name="u")["id"]
    change = {"user": {"original_password": "password of ann", "password": "other"}}
    for method, path, body in (
        ("POST", "/users", {"user": {"name": "new", "domain_id": one_house.domain}}),
        ("PATCH", f"/users/{ann}", {"user": {"enabled": False}}),
        ("DELETE", f"/users/{ann}", None),
        ("POST", f"/users/{ann}/password", change),
        ("POST", "/groups", {"group": {"name": "new", "domain_id": one_house.domain}}),
        ("PATCH", f"/groups/{crew}", {"group": {"name": "x"}}),
        ("DELETE", f"/groups/{crew}", None),
        ("PUT", f"/groups/{crew}/users/{own_user}", None),
        ("PUT", f"/groups/{own_group}/users/{ann}", None),
        ("DELETE", f"/groups/{crew}/users/{ann}", None),
    ):
        answer = cloud.call(method, path, body, token=cloud.admin)
        assert answer.status_code == 403, (method, path, answer.text)
        assert "LDAP does not support write operations" in answer.text
    one_house.login("Ann")


def test_changes_in_the_directory(house: House) -> None:
    cloud, server = house.cloud, house.server
    project = cloud.make("project", name="one")["id"]
    ann, crew = house.users()["Ann"]["id"], house.groups()["Crew"]["id"]
    cloud.ok("PUT", f"/projects/{project}/groups/{crew}/roles/{cloud.role('member')}")
    scope = {"project": {"id": project}}
    token = house.login("Ann", scope=scope).headers["X-Subject-Token"]
    bob = house.login("Bob").headers["X-Subject-Token"]
    server.modify(
        f"dn: cn=crew,ou=UserGroups,{SUFFIX}\nchangetype: modify\ndelete: member\nmember: cn=ann,ou=Users,{SUFFIX}\n\n"
        f"dn: cn=bob,ou=Users,{SUFFIX}\nchangetype: delete\n\n"
        f"dn: cn=ann,ou=Users,{SUFFIX}\nchangetype: modify\nreplace: sn\nsn: Anna\n\n"
    )
    assert "Bob" in house.users(), "lists may be a minute old"
    house.login("Anna", "password of ann", scope=scope, status=401)
    assert cloud.call("GET", "/auth/catalog", token=token).status_code == 401, "a login is read anew"
    house.later()
    users = house.users()
    assert (users["Anna"]["id"], users["Bob"]["enabled"]) == (ann, False)
    assert cloud.call("GET", "/auth/projects", token=bob).status_code == 401
    server.modify(f"dn: cn=bob2,ou=Users,{SUFFIX}\nchangetype: add\nobjectClass: inetOrgPerson\ncn: bob2\nsn: Bob\n\n")
    house.later()
    users = house.users()
    assert users["Bob"]["id"] == mirror.public_id(house.domain, "user", "bob2")
    gone = mirror.public_id(house.domain, "user", "bob")
    assert users[f"Bob ({gone})"]["enabled"] is False


def test_a_server_that_is_down(one_house: House) -> None:
    cloud = one_house.cloud
    ann = one_house.users()["Ann"]["id"]
    token = one_house.login("Ann").headers["X-Subject-Token"]
    other = cloud.make("user", name="other", password="secret")
    one_house.server.stop()
    began = time.monotonic()
    refused = one_house.login("Ann", status=503)
    assert refused.json["error"]["message"] == "The directory of this domain does not answer. Try again later."
    assert cloud.call("GET", f"/users/{ann}", token=cloud.admin).status_code == 503
    assert time.monotonic() - began < 20
    assert cloud.login(name="other", domain={"id": "default"}, password="secret")
    assert cloud.ok("GET", f"/users/{other['id']}")
    assert cloud.call("GET", "/auth/projects", token=token).status_code == 200
    one_house.server.start()
    one_house.login("Ann")


def test_a_wrong_configuration_takes_nothing_away(one_house: House) -> None:
    """A filter that finds nobody disables users; their roles are there when it is put right."""
    cloud = one_house.cloud
    project = cloud.make("project", name="one")["id"]
    ann = one_house.users()["Ann"]["id"]
    cloud.ok("PUT", f"/projects/{project}/users/{ann}/roles/{cloud.role('member')}")
    one_house.configure(user_filter="(cn=nobody)")
    one_house.later()
    assert {one["enabled"] for one in one_house.users().values()} == {False}
    one_house.login("Ann", status=401)
    one_house.configure()
    one_house.login("Ann", scope={"project": {"id": project}})
    for wrong in ({"password": "wrong"}, {"url": "http://x"}, {"query_scope": "some"}, {"page_size": "many"}):
        one_house.configure(**wrong)
        answer = one_house.login("Ann", status=503)
        assert READER_PASSWORD not in answer.text


def test_an_ordinary_domain_again(one_house: House) -> None:
    ann = one_house.users()["Ann"]["id"]
    one_house.cloud.ok("DELETE", f"/domains/{one_house.domain}/config")
    one_house.login("Ann", status=401)
    one_house.cloud.ok("PATCH", f"/users/{ann}", {"user": {"password": "secret"}})
    one_house.login("Ann", "secret")


def test_a_domain_is_deleted_with_its_directory(house: House) -> None:
    house.users(), house.groups()
    house.login("Ann")
    house.cloud.ok("PATCH", f"/domains/{house.domain}", {"domain": {"enabled": False}})
    house.login("Ann", status=401)
    house.cloud.ok("DELETE", f"/domains/{house.domain}")
    assert house.cloud.call("GET", f"/domains/{house.domain}", token=house.cloud.admin).status_code == 404


def test_tls(server: LdapServer) -> None:
    trusted = Directory(options_of(config(server, use_tls=True, tls_cacertfile=str(server.ca_file))))
    assert len(trusted.users(name="Ann")) == 1
    trusted.close()
    unknown = Directory(options_of(config(server, use_tls=True, tls_cacertfile="/etc/ssl/certs/ca-certificates.crt")))
    with pytest.raises(Unavailable):
        unknown.users(name="Ann")
    careless = Directory(options_of(config(server, use_tls="true", tls_req_cert="never")))
    assert len(careless.users(name="Ann")) == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"user_filter": "(sn=A*)"}, {"Ann"}),
        ({"user_filter": "sn=Bob"}, {"Bob"}),
        ({"query_scope": "sub", "user_tree_dn": SUFFIX, "user_filter": "(cn=ann)"}, {"Ann"}),
        ({"user_tree_dn": SUFFIX, "user_filter": "(cn=ann)"}, set()),
        ({"user_name_attribute": "cn", "user_filter": "(sn=Smith)"}, {"smith1", "smith2"}),
        ({"user_id_attribute": "mail"}, {"Ann"}),
        ({"user_objectclass": "organizationalRole"}, set()),
        ({"user_tree_dn": f"ou=None,{SUFFIX}"}, set()),
        ({"use_pool": False, "use_auth_pool": False, "page_size": 0, "user_filter": "(cn=bob)"}, {"Bob"}),
    ],
)
def test_options(server: LdapServer, options: dict[str, Any], names: set[str]) -> None:
    directory = Directory(options_of(config(server, **options)))
    assert {one.name for one in directory.users()} == names
    directory.close()


@pytest.mark.parametrize(
    ("options", "enabled"),
    [
        ({}, {"ann": True, "locked": False}),
        ({"user_enabled_default": "False"}, {"ann": False, "locked": False}),
        ({"user_enabled_invert": True, "user_enabled_default": "False"}, {"ann": True, "locked": True}),
        (
            {"user_enabled_attribute": "employeeNumber", "user_enabled_mask": 2, "user_enabled_default": "512"},
            {"ann": False, "locked": True},
        ),
        (
            {"user_enabled_emulation": True, "user_enabled_emulation_dn": f"cn=crew,ou=UserGroups,{SUFFIX}"},
            {"ann": True, "locked": False},
        ),
    ],
)
def test_who_is_enabled(server: LdapServer, options: dict[str, Any], enabled: dict[str, bool]) -> None:
    directory = Directory(options_of(config(server, **options)))
    assert {one.local_id: one.enabled for one in directory.users() if one.local_id in enabled} == enabled
    directory.close()


def test_names_that_change_hands(
    sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock
) -> None:
    """Two users of the directory swap their names, and a third takes one of them."""
    for cloud in cloud_on(sqlite, settings, tmp_path, clock):
        domain = cloud.make("domain", name="house")["id"]

        def seen(cloud: Cloud = cloud, domain: str = domain, **names: str) -> dict[str, str]:
            entries = [Entry(local_id=one, name=name, dn=one, address=one) for one, name in names.items()]
            with cloud.db.write() as tx:
                mirror.put(tx, domain, "user", entries, complete=True)
            listed = cloud.ok("GET", f"/users?domain_id={domain}")["users"]
            return {one["name"]: one["id"] for one in listed if one["enabled"]}

        a, b, c = (mirror.public_id(domain, "user", one) for one in "abc")
        assert seen(a="x", b="y") == {"x": a, "y": b}
        assert seen(a="y", b="x") == {"y": a, "x": b}
        assert seen(a="y", b="x", c="y") == {"y": a, "x": b, "y (c)": c}
        assert seen(b="x", c="y") == {"x": b, "y": c}
        assert seen(a="y", b="x", c="z") == {"y": a, "x": b, "z": c}
