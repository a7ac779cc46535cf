"""Copying between two image services, seen through python-glanceclient."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pileus.replicator.errors import UsageError
from pileus.replicator.places import Selection
from pileus.replicator.records import Rules
from pileus.replicator.runner import Size, size
from tests.replicator.conftest import MEMBER, Side, compare, copy, only, patient, results, run

DATA = b"0123456789abcdef" * 70_000


def test_everything_about_an_image_is_copied(here: Side, there: Side) -> None:
    image_id = here.add(
        DATA, name="Ä server", visibility="public", protected=True, min_disk=3, min_ram=64, tags=["red", "blue"],
        os_distro="debian", **{"odd~name/with": "odd value"},
    )  # fmt: skip
    report = copy(here, there)
    assert report.agrees
    outcome = only(report)
    assert (outcome.result, outcome.sent, outcome.copy_id) == ("copied", len(DATA), None)
    original, made = (dict(side.client().images.get(image_id)) for side in (here, there))
    for image in (original, made):
        assert sorted(image.pop("tags")) == ["blue", "red"]
    server_made = {"created_at", "updated_at", "stores"}
    compared = original.keys() - server_made
    assert {name: made.get(name) for name in compared} == {name: original[name] for name in compared}
    assert made.keys() - server_made == compared
    assert there.data(image_id) == DATA


def test_nothing_is_sent_twice(here: Side, there: Side) -> None:
    for number in range(7):
        here.add(DATA + bytes([number]))
    assert copy(here, there, jobs=3).counts() == {"copied": 7}
    there.seen.clear()
    again = copy(here, there)
    assert again.agrees
    assert again.counts() == {"unchanged": 7}
    assert [method for method, _, _ in there.seen if method != "GET"] == []
    assert compare(here, there, extra=True).counts() == {"unchanged": 7}


def test_only_what_differs_is_changed(here: Side, there: Side) -> None:
    image_id = here.add(name="old", tags=["a", "b"], os_distro="debian", gone="soon")
    copy(here, there)
    here.client().images.update(
        image_id, remove_props=["gone"], name="new", os_distro="fedora", added="1", tags=["b", "c"]
    )
    there.seen.clear()
    differing = compare(here, there)
    assert not differing.agrees
    assert {(each.kind, each.name) for each in only(differing).differences} == {
        ("field", "name"), ("property", "added"), ("property", "gone"), ("property", "os_distro"), ("tag", "a"),
        ("tag", "c"),
    }  # fmt: skip
    planned = copy(here, there, dry_run=True)
    assert not planned.agrees
    assert only(planned).result == "would update"
    assert there.requests("PATCH", image_id) == 0
    report = copy(here, there)
    assert report.agrees
    assert only(report).result == "updated"
    assert (there.requests("PATCH", image_id), there.requests("PUT", "/file")) == (1, 0)
    made = there.client().images.get(image_id)
    assert (made["name"], sorted(made["tags"]), made["os_distro"], made["added"]) == ("new", ["b", "c"], "fedora", "1")
    assert "gone" not in made


def test_what_is_ignored_is_left_alone(here: Side, there: Side) -> None:
    image_id = here.add(name="here", os_distro="debian", tags=["x"])
    copy(here, there)
    there.client().images.update(image_id, name="there", os_distro="fedora", tags=["y"])
    rules = Rules(ignore=frozenset({"name", "os_distro", "tags"}))
    assert only(copy(here, there, rules)).result == "unchanged"
    assert compare(here, there, rules).agrees
    assert not compare(here, there).agrees


def test_an_image_that_is_queued_there_is_completed(here: Side, there: Side) -> None:
    image_id = here.add(DATA, name="whole")
    there.add(None, id=image_id, name="half", disk_format="qcow2")
    report = copy(here, there)
    assert report.agrees
    assert only(report).result == "completed"
    made = there.client().images.get(image_id)
    assert (made["name"], made["disk_format"], made["status"]) == ("whole", "raw", "active")
    assert there.data(image_id) == DATA


def test_other_data_under_the_same_id_is_an_error_unless_it_may_be_replaced(here: Side, there: Side) -> None:
    image_id = here.add(b"here")
    there.add(b"there", id=image_id, protected=True)
    report = copy(here, there)
    assert not report.agrees
    outcome = only(report)
    assert outcome.result == "failed"
    assert "other data" in (outcome.error or "")
    assert there.data(image_id) == b"there"
    assert [each.kind for each in only(compare(here, there)).differences] == ["field", "data"]
    assert only(copy(here, there, replace=True)).result == "replaced"
    copies = there.client().images.list(filters={"name": "an image"})
    assert [b"".join(there.client().images.data(each["id"])) for each in copies] == [b"here"]
    assert compare(here, there).agrees


def test_where_the_id_is_taken_a_copy_gets_another_one_that_names_its_original(here: Side, there: Side) -> None:
    image_id = here.add(b"here")
    there.add(b"there", id=image_id)
    outcome = only(copy(here, there, new_ids=True))
    assert outcome.result == "copied"
    assert outcome.copy_id is not None
    assert there.data(outcome.copy_id) == b"here"
    assert there.client().images.get(outcome.copy_id)["replicated_from"] == image_id
    assert there.data(image_id) == b"there"
    again = only(copy(here, there, new_ids=True))
    assert (again.result, again.copy_id) == ("unchanged", outcome.copy_id)
    assert only(compare(here, there)).copy_id == outcome.copy_id


def test_an_id_that_a_stranger_has_is_told(here: Side, there: Side) -> None:
    image_id = here.add(b"here")
    there.add(b"secret", id=image_id, visibility="private")
    there.token = "bob@p2:member"
    refused = only(copy(here, there))
    assert "the id is taken" in (refused.error or "")
    taken = only(copy(here, there, new_ids=True))
    assert taken.result == "copied"
    assert there.data(taken.copy_id or "") == b"here"


def test_who_may_not_make_images_public_is_told_what_helps(here: Side, there: Side) -> None:
    image_id = here.add(visibility="public")
    there.token = MEMBER
    report = copy(here, there)
    assert "--set-visibility" in (only(report).error or "")
    assert there.ids() == set()
    shared = Rules(visibility="shared")
    assert copy(here, there, shared).agrees
    assert there.client().images.get(image_id)["visibility"] == "shared"
    assert compare(here, there, shared).agrees
    assert not compare(here, there).agrees


def test_owners_and_members_go_along_when_asked_for(here: Side, there: Side) -> None:
    image_id = here.add(owner="p7")
    here.client().image_members.create(image_id, "p8")
    here.client().image_members.create(image_id, "p9")
    here.client().image_members.update(image_id, "p9", "accepted")
    assert copy(here, there).agrees
    assert there.client().images.get(image_id)["owner"] == "p1"
    everything = Rules(keep_owner=True, members=True)
    assert {each.kind for each in only(compare(here, there, everything)).differences} == {"field", "member"}
    assert copy(here, there, everything).agrees
    assert there.client().images.get(image_id)["owner"] == "p7"
    members = {each["member_id"]: each["status"] for each in there.client().image_members.list(image_id)}
    assert members == {"p8": "pending", "p9": "accepted"}
    here.client().image_members.delete(image_id, "p8")
    assert only(copy(here, there, everything)).result == "updated"
    assert [each["member_id"] for each in there.client().image_members.list(image_id)] == ["p9"]


def test_only_active_images_that_are_meant_are_copied(here: Side, there: Side) -> None:
    here.add(None, name="queued")
    off = here.add(name="off")
    here.client().images.deactivate(off)
    web = here.add(name="web-1", tags=["keep", "x"])
    here.add(name="web-2")
    here.add(name="db", tags=["keep"])
    hidden = here.add(name="web-hidden", os_hidden=True, tags=["keep"])
    chosen = Selection(names=("web-*",), tags=("keep",))
    assert results(copy(here, there, selection=chosen)) == {web: "copied"}
    assert set(results(copy(here, there, selection=Selection(tags=("keep",), names=("web*",), hidden=True)))) == {
        web,
        hidden,
    }
    assert there.client().images.get(hidden)["os_hidden"] is True
    assert set(results(copy(here, there, selection=Selection(ids=(web,))))) == {web}
    with pytest.raises(UsageError, match="there is no image"):
        copy(here, there, selection=Selection(ids=("11111111-2222-3333-4444-555555555555",)))


def test_what_only_the_target_has_is_told_on_request(here: Side, there: Side) -> None:
    both = here.add()
    copy(here, there)
    missing = here.add(b"not yet there", name="missing")
    surplus = there.add(name="surplus")
    assert results(compare(here, there)) == {both: "unchanged", missing: "missing"}
    told = compare(here, there, extra=True)
    assert results(told) == {both: "unchanged", missing: "missing", surplus: "extra"}
    assert not told.agrees


def test_an_empty_image_is_copied(here: Side, there: Side) -> None:
    image_id = here.add(b"", disk_format="ari", container_format="ari")
    assert copy(here, there).agrees
    assert there.client().images.get(image_id)["size"] == 0


def test_all_pages_are_gone_through(here: Side, there: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pileus.replicator.service.PAGE", 2)
    made = {here.add(bytes([number])) for number in range(7)}
    assert set(results(copy(here, there))) == made
    place = run(here, there)._source
    assert size(place, Selection()) == Size(7, 7)


def test_paging_goes_on_when_the_marker_vanishes(here: Side, there: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pileus.replicator.service.PAGE", 2)
    made = {here.add(bytes([number])) for number in range(6)}
    listed = []
    for record in run(here, there)._source.images(Selection()):
        listed.append(record.id)
        if len(listed) == 2:
            here.client().images.delete(record.id)
    assert set(listed) == made
    assert len(listed) == len(made)


def test_an_interrupt_leaves_no_active_image(here: Side, there: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = here.add(DATA * 8)
    patience = patient()
    begun = threading.Event()
    read = type(run(here, there)._source).read

    def slowly(self: Any, record: Any, start: int) -> Any:
        for chunk in read(self, record, start):
            yield chunk
            begun.set()
            patience.stop.wait(10)

    monkeypatch.setattr("pileus.replicator.service.ImageService.read", slowly)
    threading.Thread(target=lambda: (begun.wait(10), patience.stop.set()), daemon=True).start()
    outcome = only(copy(here, there, patience=patience))
    assert outcome.result == "cancelled"
    assert there.client().images.get(image_id)["status"] == "queued"
    monkeypatch.undo()
    assert only(copy(here, there)).result == "completed"


@pytest.mark.parametrize("jobs", [1, 5])
def test_jobs_work_side_by_side(new_side: Callable[..., Side], jobs: int) -> None:
    here, there = new_side(), new_side()
    made = [here.add(DATA[:1000] + bytes([number])) for number in range(9)]
    report = copy(here, there, jobs=jobs)
    assert results(report) == dict.fromkeys(made, "copied")
    assert report.sent == 9 * 1001
