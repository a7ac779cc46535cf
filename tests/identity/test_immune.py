"""Holes that identity services have had. Each test is named after one."""

import gc
import logging
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.identity.settings import IdentitySettings, SecurityComplianceSettings
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from tests.identity.conftest import ADMIN_PASSWORD, Cloud, cloud_on

LOCKS = SecurityComplianceSettings(lockout_failure_attempts=3, unique_last_password_count=2)


@pytest.fixture
def locking(database: Database, settings: IdentitySettings, tmp_path: Any, clock: FakeClock) -> Any:
    """A cloud that locks accounts, on each kind of database."""
    yield from cloud_on(database, replace(settings, security_compliance=LOCKS), tmp_path, clock)


Refused = dict[str, dict[str, Any]]


def refusals(cloud: Cloud) -> Refused:
    """Logins that are refused, each for another reason."""
    users = {
        name: cloud.make("user", name=name, password="right", **more)
        for name, more in (("ann", {}), ("off", {"enabled": False}), ("locked", {}))
    }
    bare = cloud.make("user", name="bare")
    for _ in range(3):
        cloud.login(status=401, id=users["locked"]["id"], password="wrong")
    return {
        "unknown id": {"id": "0" * 32, "password": "right"},
        "wrong password": {"id": users["ann"]["id"], "password": "wrong"},
        "locked account": {"id": users["locked"]["id"], "password": "right"},
        "locked account, wrong password": {"id": users["locked"]["id"], "password": "wrong"},
        "disabled": {"id": users["off"]["id"], "password": "right"},
        "no password": {"id": bare["id"], "password": "right"},
    }


def work_of(cloud: Cloud, attempt: Callable[[], object]) -> tuple[list[str], int]:
    """The statements that something takes, in order, and the passwords that it hashes."""
    statements: list[str] = []

    def note(*args: Any) -> None:
        statements.append(re.sub(r"savepoint_\d+", "savepoint", args[2]))

    hashes = cloud.passwords.verified
    sa.event.listen(cloud.db.engine, "before_cursor_execute", note)
    try:
        attempt()
    finally:
        sa.event.remove(cloud.db.engine, "before_cursor_execute", note)
    return statements, cloud.passwords.verified - hashes


def test_timing_differences_between_unknown_user_wrong_password_and_locked_account(locking: Cloud) -> None:
    cloud = locking
    by_id = refusals(cloud)
    by_name = {
        "unknown name": {"name": "nobody"},
        "wrong password": {"name": "ann"},
        "locked account": {"name": "locked"},
        "disabled": {"name": "off"},
    }
    for who in by_id.values():  # everybody has failed before, so that there is a count to replace
        cloud.login(status=401, **who)
    cloud.login(status=401, name="nobody", domain={"id": "default"}, password="x")
    for kind, attempts in (("id", by_id), ("name", by_name)):
        seen = {}
        for why, who in attempts.items():
            login = {"password": "wrong", **who, **({"domain": {"id": "default"}} if kind == "name" else {})}
            seen[why] = work_of(cloud, lambda login=login: cloud.login(status=401, **login))  # type: ignore[misc]
        first = next(iter(seen.values()))
        assert first[1] == 1
        assert {why for why, work in seen.items() if work != first} == set(), kind
    unknown_domain = {"name": "ann", "domain": {"name": "nowhere"}, "password": "x"}
    known_domain = {"name": "ann", "domain": {"name": "Default"}, "password": "x"}
    cloud.login(status=401, **unknown_domain)
    works = [work_of(cloud, lambda one=one: cloud.login(status=401, **one)) for one in (unknown_domain, known_domain)]  # type: ignore[misc]
    assert works[0] == works[1]


def test_account_ids_revealed_by_lock_out(locking: Cloud) -> None:
    cloud = locking
    answers = {}
    for why, who in refusals(cloud).items():
        answer = cloud.login(status=401, **who)
        headers = {name: value for name, value in answer.headers.items() if name.lower() != "x-openstack-request-id"}
        answers[why] = (answer.text, headers)
        body = {"user": {"original_password": who["password"], "password": "new"}}
        change = cloud.call("POST", f"/users/{who['id']}/password", body)
        assert (change.status_code, change.json) == (401, answer.json), why
    assert len({str(answer) for answer in answers.values()}) == 1, answers


def test_unicode_and_case_tricks_in_names(any_cloud: Cloud) -> None:
    cloud = any_cloud
    cloud.make("user", name="ann", password="secret")
    tricks = ("Ann", "ANN", "ann ", " ann", "ann\u200b", "a\u0308nn", "\uff41\uff4e\uff4e", "ann\0", "\u0430nn")
    for name in tricks:
        result = cloud.call(
            "POST",
            "/auth/tokens",
            {
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {"user": {"name": name, "domain": {"id": "default"}, "password": "secret"}},
                    }
                }
            },
        )
        assert result.status_code in (400, 401), name
    made = [
        cloud.make("user", name=name, password=f"secret {number}")
        for number, name in enumerate(name for name in tricks if "\0" not in name)
    ]
    assert len({user["id"] for user in made}) == len(made), "they are other users, and not each other's"
    for number, user in enumerate(made):
        login = cloud.login(name=user["name"], domain={"id": "default"}, password=f"secret {number}")
        assert login.json["token"]["user"]["id"] == user["id"]
    assert cloud.call("POST", "/users", {"user": {"name": "ann"}}, token=cloud.admin).status_code == 409
    precomposed, decomposed = "é", "e\u0301"
    first = cloud.make("user", name=precomposed, password="one")
    second = cloud.make("user", name=decomposed, password="two")
    assert first["id"] != second["id"]


def test_sessions_created_before_login(cloud: Cloud) -> None:
    """There is nothing that a caller could bring along and find logged in afterwards."""
    planted = cloud.token()
    cloud.ok("DELETE", "/auth/tokens", status=400)
    headers = {"Cookie": "session=planted", "X_Subject_Token": planted, "X_Auth_Token": "planted"}
    who = {"name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}}}
    tokens = set()
    for _ in range(2):
        result = cloud.call("POST", "/auth/tokens", body, **headers)
        assert result.status_code == 201
        assert not result.cookies
        assert "Set-Cookie" not in result.headers
        tokens.add(result.headers["X-Subject-Token"])
    assert len(tokens) == 2
    assert planted not in tokens
    assert cloud.call("GET", "/users", Cookie=f"token={tokens.pop()}").status_code == 401


def test_unbounded_memory_by_bogus_paths(cloud: Cloud) -> None:
    def ask(first: int, count: int) -> None:
        for number in range(first, first + count):
            cloud.call("GET", f"/users/bogus-{number}", token=cloud.admin)
            cloud.call("GET", f"/bogus-{number}/x", token=f"bogus token {number}")
            cloud.call("GET", f"/users?bogus-{number}={number}", token=f"gAAAAA{number:0128}")
            cloud.login(status=401, name=f"bogus {number}", domain={"name": f"bogus {number}"}, password="x")

    logging.disable()  # what is logged is kept by the tests' own handler
    ask(0, 100)
    gc.collect()
    tracemalloc.start()
    try:
        ask(1000, 50)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        ask(2000, 500)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    assert grown < 500 * 100, "less than a hundred bytes for each"


def test_forged_x_user_id_and_x_roles_headers(cloud: Cloud) -> None:
    admin = cloud.identity.authenticate(cloud.admin)
    user = cloud.make("user", name="ann", password="secret")
    token = cloud.token(id=user["id"], password="secret")
    forged = {
        "X_User_Id": admin.user_id,
        "X_Roles": "admin",
        "X_Role": "admin",
        "X_Project_Id": str(admin.project_id),
        "X_Is_Admin_Project": "True",
        "X_Identity_Status": "Confirmed",
        "X_User_Domain_Id": "default",
        "Openstack_System_Scope": "all",
        "X_Service_Token": cloud.admin,
    }
    assert cloud.call("GET", "/users", **forged).status_code == 401
    assert cloud.call("GET", "/users", token=token, **forged).status_code == 403
    assert cloud.call("GET", f"/users/{admin.user_id}", token=token, **forged).status_code == 403
    shown = cloud.call("GET", "/auth/tokens", token=token, X_Subject_Token=token, **forged).json["token"]
    assert shown["user"]["id"] == user["id"]


def test_tokens_or_passwords_in_any_log_at_debug(
    locking: Cloud, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    cloud = locking
    caplog.set_level(logging.DEBUG)
    user = cloud.make("user", name="ann", password="hunter2-first")
    first = cloud.token(id=user["id"], password="hunter2-first")
    change = {"user": {"original_password": "hunter2-first", "password": "hunter2-second"}}
    assert cloud.call("POST", f"/users/{user['id']}/password", change).status_code == 204
    again = {"user": {"original_password": "hunter2-second", "password": "hunter2-first"}}
    assert cloud.call("POST", f"/users/{user['id']}/password", again).status_code == 400
    second = cloud.token(id=user["id"], password="hunter2-second")
    rescoped = cloud.call(
        "POST", "/auth/tokens", {"auth": {"identity": {"methods": ["token"], "token": {"id": second}}}}
    ).headers["X-Subject-Token"]
    cloud.make("credential", user_id=user["id"], type="cert", blob="hunter2-blob")
    for _ in range(4):
        cloud.login(status=401, id=user["id"], password="hunter2-wrong")
    cloud.login(status=401, name="hunter2-typed-here", domain={"id": "default"}, password="hunter2-x")
    cloud.call("GET", "/auth/projects", token=first)
    cloud.call("POST", "/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": "hunter2-odd"}}})
    cloud.call("DELETE", "/auth/tokens", token=cloud.admin, X_Subject_Token=second)
    logged = caplog.text + "".join(capfd.readouterr())
    assert "login refused" in logged, "refusals are logged"
    assert user["id"] in logged
    assert [secret for secret in ("hunter2", first, second, rescoped, cloud.admin) if secret in logged] == []
