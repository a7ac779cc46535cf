"""Users move in from a Keystone: from its live database, and from dumps made by the databases' own tools."""

import base64
import hashlib
import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from pileus.identity import models
from pileus.identity.keystone_import.dump import Tables, read_dump
from pileus.identity.keystone_import.service import Imported, KeystoneImport
from pileus.identity.keystone_import.store import TABLES, read_database
from pileus.identity.users import store as users_store
from pileus.kernel.db import Database
from pileus.kernel.errors import BadRequest
from tests.identity.conftest import Cloud
from tests.real_things import require

ANN, BOB, LDAP, FEDERATED, THEIR_ADMIN = ("a" * 32, "b" * 32, "c" * 64, "d" * 32, "e" * 32)
DOMAIN, TOP, LEAF, THEIR_PROJECT = ("1" * 32, "2" * 32, "3" * 32, "4" * 32)
ADMIN_ROLE, OWN_ROLE, DOMAIN_ROLE, CREW = ("5" * 32, "6" * 32, "7" * 32, "8" * 32)
NASTY = "it's \"quoted\" `so`; \\ and\nINSERT INTO user VALUES ('x');\n\ttab \\. é ✓"
CREATED = 1_600_000_000_000_000


def _pbkdf2(password: str) -> str:
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), b"salt", 1000)
    return f"$pbkdf2-sha512$1000$c2FsdA${base64.b64encode(made).decode().rstrip('=').replace('+', '.')}"


def _keystone() -> tuple[sa.MetaData, dict[str, list[dict[str, Any]]]]:
    """Keystone's tables, as far as they matter, and some rows."""
    meta = sa.MetaData()

    def table(_table: str, **columns: Any) -> None:
        sa.Table(_table, meta, *(sa.Column(column, kind) for column, kind in columns.items()))

    text, number, flag, moment = sa.String(255), sa.BigInteger, sa.Boolean, sa.DateTime
    long = sa.Text
    table("project", id=text, name=text, extra=long, description=long, enabled=flag, domain_id=text,
          parent_id=text, is_domain=flag)  # fmt: skip
    table("role", id=text, name=text, extra=long, domain_id=text, description=text)
    table("user", id=text, extra=long, enabled=flag, default_project_id=text, created_at=moment, domain_id=text)
    table("local_user", id=number, user_id=text, domain_id=text, name=text, failed_auth_count=number)
    table("nonlocal_user", domain_id=text, name=text, user_id=text)
    table("password", id=number, local_user_id=number, self_service=flag, password_hash=text, created_at=moment,
          created_at_int=number, expires_at_int=number)  # fmt: skip
    table("user_option", user_id=text, option_id=text, option_value=long)
    table("group", id=text, domain_id=text, name=text, description=long, extra=long)
    table("user_group_membership", user_id=text, group_id=text)
    table("assignment", type=text, actor_id=text, target_id=text, role_id=text, inherited=flag)
    table("system_assignment", type=text, actor_id=text, target_id=text, role_id=text, inherited=flag)
    table("implied_role", prior_role_id=text, implied_role_id=text)

    def project(id_: str, name: str, parent: str | None, domain: str, **more: Any) -> dict[str, Any]:
        return {"id": id_, "name": name, "extra": "{}", "description": "", "enabled": True, "domain_id": domain,
                "parent_id": parent, "is_domain": False} | more  # fmt: skip

    root = "<<keystone.domain.root>>"
    hashes = {
        1: [(bcrypt.hashpw(b"older", bcrypt.gensalt(4)).decode(), 0), (_pbkdf2("of ann"), 5_000_000)],
        2: [(bcrypt.hashpw(b"of bob", bcrypt.gensalt(4)).decode(), 0)],
        3: [("$unknown$x", 0)],
    }
    rows: dict[str, list[dict[str, Any]]] = {
        "project": [
            project(root, root, None, root, is_domain=True, enabled=False),
            project(LEAF, "leaf", TOP, DOMAIN, description=NASTY),
            project(TOP, "top", DOMAIN, DOMAIN, extra='{"cost": 7}'),
            project(DOMAIN, "far", None, root, is_domain=True),
            project("default", "Default", None, root, is_domain=True),
            project(THEIR_PROJECT, "admin", "default", "default"),
            project("9" * 32, "orphan", "0" * 32, "0" * 32),
        ],
        "role": [
            {"id": ADMIN_ROLE, "name": "admin", "extra": "{}", "domain_id": "<<null>>", "description": None},
            {"id": OWN_ROLE, "name": "operator", "extra": "{}", "domain_id": "<<null>>", "description": "runs it"},
            {"id": DOMAIN_ROLE, "name": "local", "extra": "{}", "domain_id": DOMAIN, "description": None},
        ],
        "user": [
            {"id": user_id, "extra": extra, "enabled": enabled, "default_project_id": None, "created_at": None,
             "domain_id": domain}
            for user_id, extra, enabled, domain in (
                (ANN, json.dumps({"email": "ann@example.org", "note": NASTY}), True, DOMAIN),
                (BOB, "{}", False, "default"),
                (LDAP, "{}", True, DOMAIN),
                (FEDERATED, "{}", True, DOMAIN),
                (THEIR_ADMIN, "{}", True, "default"),
            )
        ],
        "local_user": [
            {"id": number, "user_id": user_id, "domain_id": domain, "name": name, "failed_auth_count": 0}
            for number, user_id, domain, name in ((1, ANN, DOMAIN, "ann"), (2, BOB, "default", "bob"),
                                                  (3, THEIR_ADMIN, "default", "admin"))
        ],
        "nonlocal_user": [{"domain_id": DOMAIN, "name": "directory", "user_id": LDAP}],
        "password": [
            {"id": number * 10 + place, "local_user_id": number, "self_service": bool(later), "password_hash": hashed,
             "created_at": None, "created_at_int": CREATED + later, "expires_at_int": None}
            for number, some in hashes.items()
            for place, (hashed, later) in enumerate(some)
        ],
        "user_option": [
            {"user_id": ANN, "option_id": "1001", "option_value": "true"},
            {"user_id": ANN, "option_id": "unknown", "option_value": "1"},
        ],
        "group": [{"id": CREW, "domain_id": DOMAIN, "name": "crew", "description": "d", "extra": "{}"}],
        "user_group_membership": [{"user_id": ANN, "group_id": CREW}],
        "assignment": [
            {"type": kind, "actor_id": actor, "target_id": target, "role_id": role, "inherited": inherited}
            for kind, actor, target, role, inherited in (
                ("UserProject", ANN, LEAF, OWN_ROLE, False),
                ("GroupDomain", CREW, DOMAIN, ADMIN_ROLE, True),
                ("UserProject", LDAP, LEAF, OWN_ROLE, False),
            )
        ],
        "system_assignment": [
            {"type": "UserSystem", "actor_id": BOB, "target_id": "system", "role_id": ADMIN_ROLE, "inherited": False}
        ],
        "implied_role": [{"prior_role_id": ADMIN_ROLE, "implied_role_id": OWN_ROLE}],
    }  # fmt: skip
    return meta, rows


@pytest.fixture
def keystone(database: Database) -> Iterator[str]:
    """The URL of a Keystone's database, in the server that this cloud's is in."""
    meta, rows = _keystone()
    with database.engine.begin() as connection:
        meta.create_all(connection)
        for table in meta.tables.values():
            connection.execute(sa.insert(table), rows[table.name])
    yield database.engine.url.render_as_string(hide_password=False)
    with database.engine.begin() as connection:
        meta.drop_all(connection)


def dump(url: str, target: Path, *options: str) -> Path:
    """A dump as an operator makes it."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with sqlite3.connect(str(parsed.database)) as connection:
            target.write_text("\n".join(connection.iterdump()))
        return target
    if parsed.get_backend_name() == "postgresql":
        require("pg_dump")
        command = ["pg_dump", "-h", str(parsed.query["host"]), "-U", "pileus", *options, "pileus"]
    else:
        require("mysqldump")
        command = ["mysqldump", "-S", str(parsed.query["unix_socket"]), "-u", "root", "pileus", *TABLES]
    target.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return target


def read_in(cloud: Cloud, tables: Tables) -> Imported:
    return cloud.db.transact(KeystoneImport(tables, cloud.generation, cloud.clock).run)


def check(cloud: Cloud, done: Imported) -> None:
    """That everything is here."""
    assert done.added == {
        "project": 3, "role": 2, "user": 2, "password": 3, "group": 1, "membership": 1, "implied role": 1,
        "assignment": 3,
    }  # fmt: skip
    out = "\n".join(done.left_out)
    assert len(done.left_out) == 5
    for why in ("project orphan: its domain", "user directory: its id", f"user {FEDERATED}: it has no name",
                "hash is of an unknown form", f"of user {LDAP} on project"):  # fmt: skip
        assert why in out, out
    leaf = cloud.ok("GET", f"/projects/{LEAF}")["project"]
    assert (leaf["parent_id"], leaf["domain_id"], leaf["description"]) == (TOP, DOMAIN, NASTY)
    assert cloud.ok("GET", f"/projects/{TOP}")["project"]["cost"] == 7
    ann = cloud.ok("GET", f"/users/{ANN}")["user"]
    assert (ann["name"], ann["email"], ann["note"]) == ("ann", "ann@example.org", NASTY)
    assert ann["options"] == {"ignore_password_expiry": True}
    assert cloud.ok("GET", f"/users/{BOB}")["user"]["enabled"] is False
    assert cloud.ok("GET", "/users?name=admin")["users"][0]["id"] != THEIR_ADMIN
    cloud.login(status=401, id=ANN, password="older")
    token = cloud.login({"project": {"id": LEAF}}, id=ANN, password="of ann").json["token"]
    assert {"operator", "admin"} <= {role["name"] for role in token["roles"]}, "its own, and the group's inherited one"
    with cloud.db.read() as tx:
        passwords = [one.hash[:9] for one in users_store.passwords_of(tx, ANN, 10)]
    assert passwords == ["$argon2id", "$2b$04$" + passwords[1][7:]], "the one in force is renewed, the older one kept"
    cloud.login(id=ANN, password="of ann")


def test_from_a_live_database(any_cloud: Cloud, keystone: str) -> None:
    check(any_cloud, read_in(any_cloud, read_database(keystone)))


def test_from_a_dump(any_cloud: Cloud, keystone: str, tmp_path: Path) -> None:
    tables = read_dump(dump(keystone, tmp_path / "dump.sql"))
    check(any_cloud, read_in(any_cloud, tables))
    again = read_in(any_cloud, tables)
    assert set(again.added.values()) == {0}, "what is here already is left alone"


def test_a_dump_and_the_database_say_the_same(database: Database, keystone: str, tmp_path: Path) -> None:
    live = read_database(keystone)
    ways: list[tuple[str, ...]] = [()]
    if keystone.startswith("postgresql"):
        ways += [("--inserts",), ("--column-inserts",)]
    for options in ways:
        dumped = read_dump(dump(keystone, tmp_path / "dump.sql", *options))
        for table in TABLES:
            assert {_key(row) for row in dumped[table]} == {_key(row) for row in live[table]}, (table, options)
    assert database.engine.dialect.name in keystone


def _key(row: Any) -> tuple[tuple[str, str], ...]:
    """A row without the difference between 1, true and t."""
    flags = {"True": "1", "False": "0", "t": "1", "f": "0"}
    return tuple(sorted((name, flags.get(str(value), str(value))) for name, value in row.items()))


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO user VALUES ('x');",
        "INSERT INTO user (id) VALUES ('x', 'y');",
        "INSERT INTO user (id) VALUES (f(1));",
    ],
)
def test_what_is_no_dump_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dump.sql").write_text(text)
    with pytest.raises(BadRequest):
        read_dump(tmp_path / "dump.sql")


@pytest.mark.parametrize("end", ["'", "'a''", "/*", "('", "COPY user (id) FROM stdin;\nx"])
def test_a_dump_that_breaks_off_ends(tmp_path: Path, end: str) -> None:
    (tmp_path / "dump.sql").write_text("CREATE TABLE user (id text);\nINSERT INTO user VALUES ('x');\n" + end)
    try:
        found = read_dump(tmp_path / "dump.sql")
    except BadRequest as err:
        assert re.search("dump", str(err))
    else:
        assert found == {"user": [{"id": "x"}]}


def test_another_database_is_refused(cloud: Cloud) -> None:
    with pytest.raises(BadRequest, match="not a Keystone's"):
        read_in(cloud, {"server": []})
    with pytest.raises(BadRequest, match="cannot be read"):
        read_database("sqlite:////nowhere/at/all.db")
    with cloud.db.read() as tx:
        assert tx.one(sa.select(models.user).where(models.user.c.id == ANN)) is None
