"""Records of images: what is compared, what decides that data is the same, what is to be done."""

import ast
from pathlib import Path
from typing import Any

import pytest

from pileus import replicator
from pileus.replicator.errors import Differs, ReplicationError
from pileus.replicator.plan import Action, decide
from pileus.replicator.records import Record, Rules, description, differences, new_document, parse, patch, same_data

ID = "11111111-2222-3333-4444-555555555555"
HASHES = {"checksum": "m", "os_hash_algo": "sha512", "os_hash_value": "s"}


def record(**values: Any) -> Record:
    return parse({"id": ID, "status": "active", "size": 5, **HASHES, **values}, "here")


def test_what_the_server_made_is_not_compared() -> None:
    other = record(
        created_at="x", updated_at="y", self="s", file="f", schema="c", direct_url="d", stores="a,b", locations=[],
        os_glance_importing_to_stores="", virtual_size=9, replicated_from="z", container_format=None,
    )  # fmt: skip
    assert differences(record(), other, Rules()) == []
    assert other.origin == "z"


def test_services_of_older_versions_leave_fields_out() -> None:
    assert differences(record(os_hidden=False, min_ram=0, protected=False), record(), Rules()) == []


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"size": 6}, False),
        ({"os_hash_value": "t"}, False),
        ({"checksum": "n"}, True),
        ({"os_hash_algo": "sha256", "os_hash_value": "t"}, True),
        ({"os_hash_algo": "sha256", "os_hash_value": "t", "checksum": "n"}, False),
        ({"os_hash_algo": "sha256", "os_hash_value": "t", "checksum": None}, False),
    ],
)
def test_the_strongest_hash_that_both_have_decides(other: dict[str, Any], same: bool) -> None:
    assert same_data(record(), record(**other)) is same


def test_without_any_hash_the_size_decides() -> None:
    bare = record(checksum=None, os_hash_algo=None, os_hash_value=None)
    assert same_data(bare, record())
    assert not same_data(bare, record(size=6))
    assert not same_data(record(), bare)


def test_a_patch_makes_the_same() -> None:
    have = record(name="a", x="1", gone="1", tags=["t"])
    want = record(name=None, x="2", **{"a/b~c": "3"}, tags=["u"])
    assert patch(want, have, Rules()) == [
        {"op": "replace", "path": "/name", "value": None},
        {"op": "add", "path": "/a~1b~0c", "value": "3"},
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/x", "value": "2"},
        {"op": "replace", "path": "/tags", "value": ["u"]},
    ]
    assert patch(want, want, Rules()) == []


def test_a_new_image_is_not_protected_before_it_is_verified() -> None:
    document = new_document(record(protected=True, owner="p", name="n"), ID, Rules())
    assert document == {"id": ID, "name": "n", "tags": []}
    kept = new_document(record(owner="p"), "another", Rules(keep_owner=True, ignore=frozenset({"tags"})))
    assert kept == {"id": "another", "owner": "p", "replicated_from": ID}


def test_a_description_is_the_record_again() -> None:
    original = record(name="n", x="1", tags=["b", "a"], created_at="then")
    assert parse(description(original), "there") == original
    assert description(original)["created_at"] == "then"


@pytest.mark.parametrize("wrong", [None, [], {"id": 1}, {"id": "../x"}, {"id": ID.replace("-", "")}])
def test_ids_that_are_no_uuids_do_not_pass(wrong: Any) -> None:
    with pytest.raises(ReplicationError):
        parse(wrong, "here")


@pytest.mark.parametrize(
    ("found", "replace", "action"),
    [
        (None, False, Action.COPY),
        ({}, False, Action.NOTHING),
        ({"name": "other"}, False, Action.UPDATE),
        ({"status": "queued"}, False, Action.COMPLETE),
        ({"status": "queued", "disk_format": "iso"}, False, Action.COMPLETE),
        ({"size": 6}, True, Action.REPLACE),
        ({"disk_format": "iso"}, True, Action.REPLACE),
        ({"status": "deactivated"}, True, Action.REPLACE),
        ({"status": "saving"}, True, Action.REPLACE),
    ],
)
def test_what_is_to_be_done(found: dict[str, Any] | None, replace: bool, action: Action) -> None:
    there = None if found is None else record(**found)
    assert decide(record(), there, Rules(), replace=replace, new_ids=False) is action


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"size": 6}, "other data"),
        ({"disk_format": "iso"}, "another disk_format there"),
        ({"status": "deactivated"}, "deactivated"),
        ({"status": "saving"}, "has not ended"),
        ({"status": "killed"}, "killed"),
    ],
)
def test_what_is_not_done_unasked(found: dict[str, Any], said: str) -> None:
    with pytest.raises(Differs, match=said):
        decide(record(), record(**found), Rules(), replace=False, new_ids=False)


def test_the_replicator_knows_no_service_of_this_cloud() -> None:
    package = Path(replicator.__file__).parent
    imported = {
        node.module
        for path in package.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pileus.")
    }
    foreign = {name for name in imported if not name.startswith("pileus.replicator")}
    assert foreign == {"pileus.kernel.clock", "pileus.kernel.errors", "pileus.kernel.ids"}
