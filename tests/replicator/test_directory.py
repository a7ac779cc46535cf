"""Images in a directory: dumped, continued, loaded, compared."""

import hashlib
import json
from pathlib import Path

import pytest

from pileus.replicator.errors import UsageError
from pileus.replicator.records import Rules
from tests.replicator.conftest import Side, compare, copy, only, patient, results
from tests.replicator.faults import cut, downloads

DATA = hashlib.shake_256(b"noise").digest(3_000_000)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    return path


def test_what_is_dumped_can_be_loaded(here: Side, there: Side, directory: Path) -> None:
    image_id = here.add(DATA, name="one", tags=["t"], os_distro="debian", visibility="public", protected=True)
    other = here.add(b"two", name="two")
    here.client().image_members.create(other, "p9")
    rules = Rules(members=True)
    assert copy(here, directory, rules).counts() == {"copied": 2}
    assert (directory / image_id).read_bytes() == DATA
    assert json.loads((directory / f"{image_id}.json").read_text())["image"]["os_distro"] == "debian"
    assert {path.name for path in directory.iterdir()} == {image_id, f"{image_id}.json", other, f"{other}.json"}
    assert compare(here, directory, rules).agrees
    assert copy(here, directory, rules).counts() == {"unchanged": 2}
    assert copy(directory, there, rules).agrees
    assert there.data(image_id) == DATA
    assert compare(here, there, rules).agrees
    assert [each["member_id"] for each in there.client().image_members.list(other)] == ["p9"]


def test_changes_are_brought_up_to_date(here: Side, directory: Path) -> None:
    image_id = here.add(name="old", gone="soon")
    copy(here, directory)
    here.client().images.update(image_id, name="new", remove_props=["gone"])
    assert not compare(here, directory).agrees
    assert only(copy(here, directory)).result == "updated"
    assert compare(here, directory).agrees
    assert "gone" not in (directory / f"{image_id}.json").read_text()


def test_a_dump_that_was_cut_off_continues(here: Side, there: Side, directory: Path) -> None:
    image_id = here.add(DATA)
    here.faults.append(downloads(cut(2_000_000)))
    assert only(copy(here, directory, patience=patient(0))).result == "failed"
    here.faults.clear()
    part = directory / f"{image_id}.part"
    kept = part.stat().st_size
    assert 0 < kept < len(DATA)
    assert copy(directory, there).counts() == {}
    here.seen.clear()
    assert only(copy(here, directory)).result == "completed"
    assert (directory / image_id).read_bytes() == DATA
    assert not part.exists()
    assert ("GET", f"/images/{image_id}/file", f"bytes={kept}-") in here.seen


def test_what_an_earlier_run_left_is_verified_too(here: Side, directory: Path) -> None:
    image_id = here.add(DATA)
    for rest in (b"something else", DATA + b"and more"):
        (directory / f"{image_id}.part").write_bytes(rest)
        assert copy(here, directory).agrees
        assert (directory / image_id).read_bytes() == DATA
        (directory / image_id).unlink()


def test_data_that_was_spoilt_in_the_directory_is_not_loaded(here: Side, there: Side, directory: Path) -> None:
    image_id = here.add(DATA)
    copy(here, directory)
    with (directory / image_id).open("r+b") as file:
        file.write(b"spoilt")
    failed = only(copy(directory, there))
    assert failed.result == "failed"
    assert "md5" in (failed.error or "")
    assert there.client().images.get(image_id)["status"] == "queued"


def test_between_two_directories(here: Side, directory: Path, tmp_path: Path) -> None:
    image_id = here.add(DATA)
    copy(here, directory)
    second = tmp_path / "second"
    second.mkdir()
    assert results(copy(directory, second)) == {image_id: "copied"}
    assert compare(directory, second, extra=True).agrees


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not JSON", "is not JSON"),
        ("[]", "does not describe an image"),
        ('{"image": {"id": "../../etc/passwd"}}', "not a UUID"),
        ('{"image": {"id": "11111111-2222-3333-4444-555555555555"}}', "describes 1111"),
    ],
)
def test_descriptions_that_lie_are_refused(there: Side, directory: Path, text: str, said: str) -> None:
    (directory / "99999999-2222-3333-4444-555555555555.json").write_text(text)
    with pytest.raises(Exception, match=said):
        copy(directory, there)


def test_a_directory_that_is_not_there_is_told(there: Side, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no directory"):
        copy(tmp_path / "nowhere", there)
