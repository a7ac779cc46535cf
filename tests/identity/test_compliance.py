"""`[identity.security_compliance]`: passwords that must be good and do not last, accounts that are locked."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.settings import IdentitySettings, SecurityComplianceSettings
from pileus.identity.users import store
from pileus.identity.users.compliance import DAY, Compliance, decoy
from pileus.kernel.clock import MICROSECONDS, FakeClock, iso
from pileus.kernel.config import SettingsError
from pileus.kernel.db import Database
from tests.identity.conftest import Cloud, cloud_on

DAY_SECONDS = DAY // MICROSECONDS
Strict = Callable[..., Cloud]


@pytest.fixture
def strict(database: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock) -> Iterator[Strict]:
    """Makes a cloud with such rules, on each kind of database."""
    running: list[Iterator[Cloud]] = []

    def start(**rules: Any) -> Cloud:
        chosen = replace(settings, security_compliance=SecurityComplianceSettings(**rules))
        running.append(cloud_on(database, chosen, tmp_path, clock))
        return next(running[0])

    yield start
    for cloud in running:
        next(cloud, None)


def choose(cloud: Cloud, user: dict[str, Any], original: str, new: str) -> int:
    """The status of a user's own change of the password."""
    body = {"user": {"original_password": original, "password": new}}
    return cloud.call("POST", f"/users/{user['id']}/password", body).status_code


def set_options(cloud: Cloud, user: dict[str, Any], **options: bool) -> None:
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"options": options}})


# --- strength, history, age ---------------------------------------------------------------------------------


def test_password_regex(strict: Strict) -> None:
    cloud = strict(password_regex=r"^(?=.*\d)(?=.*[a-zA-Z]).{7,}$", password_regex_description="a letter and a digit")
    weak = cloud.call("POST", "/users", {"user": {"name": "x", "password": "short"}}, token=cloud.admin)
    assert weak.status_code == 400
    assert weak.json["error"]["message"] == "The password does not match the requirements: a letter and a digit."
    user = cloud.make("user", name="ann", password="longer1")
    weak = cloud.call("PATCH", f"/users/{user['id']}", {"user": {"password": "weak"}}, token=cloud.admin)
    assert weak.status_code == 400
    assert choose(cloud, user, "longer1", "weak") == 400
    assert choose(cloud, user, "longer1", "stronger2") == 204


def test_password_history_holds_hashes_of_the_last_passwords(strict: Strict) -> None:
    cloud = strict(unique_last_password_count=3)
    user = cloud.make("user", name="ann", password="one")
    assert choose(cloud, user, "one", "one") == 400
    assert choose(cloud, user, "one", "two") == 204
    assert choose(cloud, user, "two", "one") == 400
    assert choose(cloud, user, "two", "three") == 204
    for old in ("one", "two", "three"):
        assert choose(cloud, user, "three", old) == 400, old
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"password": "one"}})
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"password": "one"}})
    assert choose(cloud, user, "one", "four") == 204, "administrators set any; theirs count as well"
    with cloud.db.read() as tx:
        stored = [row.hash for row in tx.all(sa.select(models.password).where(models.password.c.user_id == user["id"]))]
    assert len(stored) == 3
    assert all(one.startswith("$argon2id$") for one in stored)
    cloud.login(id=user["id"], password="four")


def test_without_history_one_hash_is_kept(strict: Strict) -> None:
    cloud = strict()
    user = cloud.make("user", name="ann", password="one")
    assert choose(cloud, user, "one", "one") == 204
    with cloud.db.read() as tx:
        assert len(store.passwords_of(tx, user["id"], 100)) == 1


def test_minimum_password_age(strict: Strict) -> None:
    cloud = strict(minimum_password_age=2, password_expires_days=10)
    user = cloud.make("user", name="ann", password="first")
    assert choose(cloud, user, "first", "second") == 204, "an administrator's password may be changed at once"
    body = {"user": {"original_password": "second", "password": "third"}}
    refused = cloud.call("POST", f"/users/{user['id']}/password", body)
    assert refused.status_code == 400
    assert "try again in 2 day(s)" in refused.json["error"]["message"]
    cloud.clock.advance(2 * DAY_SECONDS - 1)
    assert choose(cloud, user, "second", "third") == 400
    cloud.clock.advance(1)
    assert choose(cloud, user, "second", "third") == 204


def test_locked_passwords_are_changed_by_administrators_alone(strict: Strict) -> None:
    cloud = strict()
    user = cloud.make("user", name="ann", password="old", options={"lock_password": True})
    assert choose(cloud, user, "old", "new") == 400
    assert choose(cloud, user, "wrong", "new") == 401, "whoever does not know it learns nothing"
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"password": "new"}})
    cloud.login(id=user["id"], password="new")


# --- expiry -------------------------------------------------------------------------------------------------


def test_password_expires(strict: Strict) -> None:
    cloud = strict(password_expires_days=30)
    user = cloud.make("user", name="ann", password="old")
    expires_at = (cloud.clock.now() + 30 * DAY) // MICROSECONDS * MICROSECONDS
    assert user["password_expires_at"] == f"{str(iso(expires_at))[:-1]}.000000Z"
    shown = cloud.login(id=user["id"], password="old").json["token"]["user"]
    assert shown["password_expires_at"] == user["password_expires_at"]
    cloud.clock.advance(30 * DAY_SECONDS)
    refused = cloud.login(status=401, id=user["id"], password="old").json["error"]["message"]
    assert refused == f"The password is expired and needs to be changed for user: {user['id']}."
    wrong = cloud.login(status=401, id=user["id"], password="wrong").json["error"]["message"]
    assert "expired" not in wrong
    assert choose(cloud, user, "wrong", "new") == 401
    assert choose(cloud, user, "old", "new") == 204, "an expired password serves to choose another one"
    cloud.login(id=user["id"], password="new")


def test_password_expiry_can_be_ignored(strict: Strict) -> None:
    cloud = strict(password_expires_days=1)
    before = cloud.make("user", name="ann", password="old", options={"ignore_password_expiry": True})
    later = cloud.make("user", name="bob", password="old")
    assert before["password_expires_at"] is None
    set_options(cloud, later, ignore_password_expiry=True)
    cloud.clock.advance(2 * DAY_SECONDS)
    for user in (before, later):
        cloud.login(id=user["id"], password="old")


def test_first_use_must_change_the_password(strict: Strict) -> None:
    cloud = strict(change_password_upon_first_use=True)
    user = cloud.make("user", name="ann", password="given")
    robot = cloud.make("user", name="robot", password="given", options={"ignore_change_password_upon_first_use": True})
    cloud.login(id=robot["id"], password="given")
    cloud.login(status=401, id=user["id"], password="given")
    assert choose(cloud, user, "given", "chosen") == 204
    cloud.login(id=user["id"], password="chosen")
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"password": "reset"}})
    cloud.login(status=401, id=user["id"], password="reset")


def test_users_are_found_by_when_their_password_expires(strict: Strict) -> None:
    cloud = strict(password_expires_days=10)
    group = cloud.make("group", name="crew")
    now = cloud.clock.now()
    for number in range(3):
        user = cloud.make("user", name=f"user {number}", password="secret")
        cloud.ok("PUT", f"/groups/{group['id']}/users/{user['id']}")
        cloud.clock.advance(DAY_SECONDS)
        cloud.admin = cloud.token()
    middle = iso(now + 11 * DAY)
    expected = {"lt": {0}, "lte": {0, 1}, "eq": {1}, "neq": {0, 2}, "gte": {1, 2}, "gt": {2}}
    for path in ("/users", f"/groups/{group['id']}/users"):
        for comparator, numbers in expected.items():
            found = cloud.ok("GET", f"{path}?password_expires_at={comparator}:{middle}&name__startswith=user")["users"]
            assert {user["name"] for user in found} - {"admin"} == {f"user {n}" for n in numbers}, (path, comparator)
        assert {user["name"] for user in cloud.ok("GET", f"{path}?password_expires_at={middle}")["users"]} == {"user 1"}
        for wrong in (f"about:{middle}", "lt:yesterday", "lt:"):
            assert cloud.call("GET", f"{path}?password_expires_at={wrong}", token=cloud.admin).status_code == 400


# --- wrong passwords ----------------------------------------------------------------------------------------


def fail(cloud: Cloud, user: dict[str, Any], times: int) -> None:
    for _ in range(times):
        cloud.login(status=401, id=user["id"], password="wrong")


def test_lockout(strict: Strict) -> None:
    cloud = strict(lockout_failure_attempts=3, lockout_duration=60)
    user = cloud.make("user", name="ann", password="secret")
    token = cloud.token(id=user["id"], password="secret")
    fail(cloud, user, 2)
    cloud.login(id=user["id"], password="secret")
    fail(cloud, user, 2)
    cloud.login(id=user["id"], password="secret")  # begins the count anew
    fail(cloud, user, 3)
    cloud.login(status=401, id=user["id"], password="secret")
    cloud.login(status=401, name="ann", domain={"id": "default"}, password="secret")
    assert choose(cloud, user, "secret", "new") == 401
    assert cloud.identity.authenticate(token).user_id == user["id"], "who is logged in already may go on"
    cloud.clock.advance(59)
    cloud.login(status=401, id=user["id"], password="secret")
    cloud.clock.advance(1)
    cloud.login(id=user["id"], password="secret")  # attempts while it is locked have not prolonged it


def test_lockout_ends_where_an_administrator_enables_the_user(strict: Strict) -> None:
    cloud = strict(lockout_failure_attempts=1, lockout_duration=0)
    user = cloud.make("user", name="ann", password="secret")
    fail(cloud, user, 1)
    cloud.clock.advance(1000 * DAY_SECONDS)
    cloud.login(status=401, id=user["id"], password="secret")
    cloud.admin = cloud.token()
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"enabled": True}})
    cloud.login(id=user["id"], password="secret")


def test_lockout_can_be_ignored(strict: Strict) -> None:
    cloud = strict(lockout_failure_attempts=1)
    user = cloud.make("user", name="ann", password="secret", options={"ignore_lockout_failure_attempts": True})
    fail(cloud, user, 3)
    cloud.login(id=user["id"], password="secret")


def test_lockout_counts_in_all_processes_together(strict: Strict, tmp_path: Path) -> None:
    cloud = strict(lockout_failure_attempts=2)
    user = cloud.make("user", name="ann", password="secret")
    fail(cloud, user, 1)
    other = cloud.node(tmp_path / "other machine")
    other.login(status=401, id=user["id"], password="wrong")
    cloud.login(status=401, id=user["id"], password="secret")
    other.login(status=401, id=user["id"], password="secret")


def test_counts_of_wrong_passwords_stay_bounded(strict: Strict) -> None:
    cloud = strict(lockout_failure_attempts=2)
    user = cloud.make("user", name="ann", password="secret")
    fail(cloud, user, 5)
    for number in range(40):
        cloud.login(status=401, name=f"nobody {number}", domain={"id": "default"}, password="x")
    assert len({decoy("default", f"nobody {number}") for number in range(20000)}) <= 4096
    cloud.ok("DELETE", f"/users/{user['id']}")
    with cloud.db.read() as tx:
        left = [row.account for row in tx.all(sa.select(models.failed_login))]
    assert left
    assert all(account.startswith("?") for account in left)


# --- inactivity ---------------------------------------------------------------------------------------------


def test_inactive_users_are_disabled(strict: Strict) -> None:
    cloud = strict(disable_user_account_days_inactive=30)
    set_options(cloud, cloud.ok("GET", "/users?name=admin")["users"][0], ignore_user_inactivity=True)
    user = cloud.make("user", name="ann", password="secret")
    robot = cloud.make("user", name="robot", password="secret", options={"ignore_user_inactivity": True})
    cloud.clock.advance(20 * DAY_SECONDS)
    cloud.login(id=user["id"], password="secret")
    cloud.clock.advance(29 * DAY_SECONDS)
    cloud.login(id=user["id"], password="secret")
    cloud.clock.advance(30 * DAY_SECONDS)
    cloud.login(status=401, id=user["id"], password="secret")
    cloud.login(id=robot["id"], password="secret")
    cloud.admin = cloud.token()
    assert cloud.ok("GET", f"/users/{user['id']}")["user"]["enabled"] is False
    assert [one["name"] for one in cloud.ok("GET", "/users?enabled=false")["users"]] == ["ann"]
    assert {one["name"] for one in cloud.ok("GET", "/users?enabled=true")["users"]} == {"admin", "robot"}
    cloud.ok("PATCH", f"/users/{user['id']}", {"user": {"enabled": True}})
    cloud.login(id=user["id"], password="secret")
    set_options(cloud, robot, ignore_user_inactivity=False)
    cloud.clock.advance(30 * DAY_SECONDS)
    cloud.login(status=401, id=robot["id"], password="secret")


def test_a_day_of_logins_is_noted_once(strict: Strict) -> None:
    cloud = strict(disable_user_account_days_inactive=30)
    user = cloud.make("user", name="ann", password="secret")
    cloud.clock.advance(DAY_SECONDS)
    cloud.login(id=user["id"], password="secret")
    changes = []
    sa.event.listen(cloud.db.engine, "before_cursor_execute", lambda *args: changes.append(args[2]))
    cloud.login(id=user["id"], password="secret")
    assert not [statement for statement in changes if statement.lstrip().startswith("UPDATE")]


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"password_regex": "("}, "no regular expression"),
        ({"minimum_password_age": 5, "password_expires_days": 5}, "less"),
    ],
)
def test_contradicting_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Compliance(SecurityComplianceSettings(**wrong))
