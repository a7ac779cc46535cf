"""Property protections: the operator's file, and what callers then may do to custom properties."""

from pathlib import Path

import pytest

from pileus.image.protection import Operation, Protection, ProtectionError, load_protection
from pileus.kernel.auth import Actor
from pileus.kernel.db import Database
from tests.image.conftest import Api, make_api

ADMIN = "root@p1:admin"
FILE = """
[^x_secret]
create = admin
read = admin
update = admin
delete = admin

[^x_shown$]
create = admin
read = @
update = admin, Member
delete = !

[.*]
create = @
read = @
update = @
delete = @
"""


def load(tmp_path: Path, text: str, **more: object) -> Protection:
    path = tmp_path / "protections.conf"
    path.write_text(text)
    return load_protection(path, **more)  # type: ignore[arg-type]


@pytest.fixture
def guarded(sqlite: Database, tmp_path: Path) -> Api:
    return make_api(sqlite, tmp_path, protection=load(tmp_path, FILE))


def add(name: str, value: str = "v") -> list[dict[str, str]]:
    return [{"op": "add", "path": f"/{name}", "value": value}]


def remove(name: str) -> list[dict[str, str]]:
    return [{"op": "remove", "path": f"/{name}"}]


def test_creating(guarded: Api) -> None:
    refused = guarded.call("POST", "/images", json={"name": "a", "x_secret": "s"})
    assert refused.status_code == 403
    assert "'x_secret' is protected" in refused.text
    assert guarded.list() == []
    image_id = guarded.create(free="yes")
    assert guarded.show(image_id)["free"] == "yes"
    assert guarded.patch(image_id, add("x_secret_2")).status_code == 403
    assert guarded.patch(image_id, add("x_shown")).status_code == 403
    assert guarded.patch(image_id, add("x_secret_2"), ADMIN).status_code == 200


def test_reading(guarded: Api) -> None:
    image_id = guarded.create(ADMIN, name="one", x_secret="s", x_shown="t")
    assert guarded.show(image_id, ADMIN)["x_secret"] == "s"
    seen = guarded.show(image_id)
    assert "x_secret" not in seen
    assert seen["x_shown"] == "t"
    listed = guarded.call("GET", "/images").json["images"][0]
    assert "x_secret" not in listed
    changed = guarded.patch(image_id, add("free"))
    assert changed.status_code == 200
    assert "x_secret" not in changed.json


def test_a_filter_does_not_tell_what_may_not_be_read(guarded: Api) -> None:
    guarded.create(ADMIN, name="one", x_secret="s", x_shown="t")
    assert guarded.list("x_secret=s") == []
    assert guarded.list("x_secret=s", ADMIN) == ["one"]
    assert guarded.list("x_shown=t") == ["one"]


def test_changing_and_removing(guarded: Api) -> None:
    image_id = guarded.create(ADMIN, x_secret="s", x_shown="t", free="f")
    assert guarded.patch(image_id, add("x_shown", "other")).status_code == 200  # roles' case does not matter
    assert guarded.patch(image_id, add("x_shown", "more"), "bob@p1:reader").status_code == 403
    assert guarded.patch(image_id, remove("x_shown"), ADMIN).status_code == 403
    assert guarded.patch(image_id, remove("x_secret")).status_code == 403
    assert guarded.patch(image_id, add("x_secret", "other")).status_code == 403
    assert guarded.patch(image_id, remove("free")).status_code == 200
    shown = guarded.show(image_id, ADMIN)
    assert (shown["x_secret"], shown["x_shown"], "free" in shown) == ("s", "other", False)


def test_what_no_section_names_is_nobodys(tmp_path: Path) -> None:
    protection = load(tmp_path, "[^a]\ncreate = @\nread = @\nupdate = @\ndelete = @\n")
    actor = Actor(user_id="u", project_id="p", roles=frozenset({"admin"}), is_admin=True)
    assert protection.permits(actor, Operation.READ, "a1")
    assert not protection.permits(actor, Operation.READ, "b1")


def test_rules_of_the_policy(tmp_path: Path) -> None:
    text = "[.*]\ncreate = may\nread = may\nupdate = may_not\ndelete = may\n"
    protection = load(tmp_path, text, allows=lambda rule, actor: rule == "may" and actor.user_id == "u")
    actor = Actor(user_id="u", project_id="p", roles=frozenset(), is_admin=False)
    assert protection.permits(actor, Operation.CREATE, "x")
    assert not protection.permits(actor, Operation.UPDATE, "x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[^(a]\ncreate=@\nread=@\nupdate=@\ndelete=@", "not a regular expression"),
        ("[a]\ncreate=@\nread=@\nupdate=@", "delete"),
        ("[a]\ncreate=@\nread=@\nupdate=@\ndelete=@\nremove=@", "remove"),
        ("[a]\ncreate=@,!\nread=@\nupdate=@\ndelete=@", "exclude each other"),
        ("create=@", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ProtectionError, match=said):
        load(tmp_path, text)


def test_one_rule_for_each_operation(tmp_path: Path) -> None:
    with pytest.raises(ProtectionError, match="one policy rule"):
        load(tmp_path, "[a]\ncreate=x,y\nread=x\nupdate=x\ndelete=x", allows=lambda _rule, _actor: True)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtectionError, match="cannot be read"):
        load_protection(tmp_path / "absent")
