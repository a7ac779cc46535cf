"""What goes wrong on the way, and what is left of it: nothing that is not whole."""

import hashlib
from typing import Any

import pytest

from pileus.image.settings import ImageSettings
from tests.replicator.conftest import Side, copy, only, patient, results
from tests.replicator.faults import after_answer, answers, counted, cut, downloads, loses_answers, spoil

DATA = hashlib.shake_256(b"noise").digest(3_000_000)


def test_a_broken_download_goes_on_where_it_broke(here: Side, there: Side) -> None:
    image_id = here.add(DATA)
    here.faults.append(counted(2, downloads(cut(1_200_000))))
    assert copy(here, there).agrees
    assert there.data(image_id) == DATA
    ranges = [wanted for method, path, wanted in here.seen if path.endswith("/file") and method == "GET"]
    assert len(ranges) == 3
    assert ranges[0] == ""
    assert all(wanted.startswith("bytes=") and wanted != "bytes=0-" for wanted in ranges[1:])
    assert there.requests("PUT", "/file") == 1


def test_without_ranges_the_upload_starts_anew(here: Side, there: Side) -> None:
    image_id = here.add(DATA)
    here.faults.append(counted(1, downloads(cut(1_200_000))))
    here.faults.append(downloads(lambda chunks: chunks, ranges=False))
    assert copy(here, there).agrees
    assert there.data(image_id) == DATA
    assert there.requests("PUT", "/file") == 2


def test_a_download_that_always_breaks_fails_and_can_be_completed_later(here: Side, there: Side) -> None:
    image_id = here.add(DATA)
    here.faults.append(downloads(cut(0)))
    failed = only(copy(here, there))
    assert failed.result == "failed"
    assert "tried 4 times" in (failed.error or "")
    assert there.client().images.get(image_id)["status"] == "queued"
    here.faults.clear()
    assert only(copy(here, there)).result == "completed"
    assert there.data(image_id) == DATA


def test_data_that_is_not_what_its_record_says_never_becomes_active(here: Side, there: Side) -> None:
    image_id = here.add(DATA)
    here.faults.append(downloads(spoil))
    failed = only(copy(here, there))
    assert failed.result == "failed"
    assert "md5" in (failed.error or "")
    assert there.client().images.get(image_id)["status"] == "queued"


def test_what_the_target_garbled_is_deleted(here: Side, there: Side) -> None:
    image_id = here.add(DATA)

    def garbles(environ: dict[str, Any], start_response: Any, side: Side) -> Any:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith("/file"):
            environ["wsgi.input"] = Garbled(environ["wsgi.input"])
            return side.app(environ, start_response)
        return None

    there.faults.append(garbles)
    failed = only(copy(here, there))
    assert failed.result == "failed"
    assert "of what has passed" in (failed.error or "")
    assert image_id not in there.ids()


class Garbled:
    """Reads every byte as another one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        return data.translate(bytes(range(255, -1, -1)))


def test_a_service_that_takes_half_an_upload_for_a_whole_does_not_keep_it(here: Side, there: Side) -> None:
    image_id = here.add(DATA)
    here.faults.append(downloads(cut(2_000_000)))

    def credulous(environ: dict[str, Any], start_response: Any, side: Side) -> Any:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith("/file"):
            length = environ["CONTENT_LENGTH"] = "1048576"
            environ.pop("HTTP_X_OPENSTACK_IMAGE_SIZE", None)
            assert int(length) < len(DATA)
            return side.app(environ, start_response)
        return None

    there.faults.append(credulous)
    assert only(copy(here, there, patience=patient(0))).result == "failed"
    assert image_id not in there.ids()


def test_a_full_target_is_told_and_not_asked_again(here: Side, new_side: Any) -> None:
    there = new_side(ImageSettings(size_limit=1000))
    small, large = here.add(b"x"), here.add(DATA)
    report = copy(here, there)
    assert results(report) == {small: "copied", large: "failed"}
    assert not report.agrees
    assert there.requests("PUT", f"{large}/file") == 1
    assert there.client().images.get(large)["status"] == "queued"


def test_an_image_that_vanishes_meanwhile_is_no_failure(here: Side, there: Side) -> None:
    image_id = here.add(DATA)

    there.faults.append(after_answer("POST", "/images", lambda: here.client().images.delete(image_id)))
    report = copy(here, there)
    assert only(report).result == "vanished"
    assert report.agrees
    assert there.ids() == set()


def test_an_image_that_is_deactivated_while_it_is_read_is_no_failure(here: Side, there: Side) -> None:
    image_id = here.add(DATA)
    here.token = "ann@p1:member"  # administrators still read it

    def withdraw(environ: dict[str, Any], _start_response: Any, _side: Side) -> None:
        if environ["PATH_INFO"].endswith("/file"):
            here.faults.clear()
            here.client().images.deactivate(image_id)

    here.faults.append(withdraw)
    assert only(copy(here, there)).result == "vanished"
    assert there.ids() == set()


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "429 Too Many Requests"])
def test_busy_services_are_asked_again(here: Side, there: Side, status: str) -> None:
    image_id = here.add(DATA)
    for method, ending in (("GET", "/images"), ("GET", "/file")):
        here.faults.append(counted(2, answers(method, ending, status)))
    for method, ending in (("POST", "/images"), ("GET", image_id)):
        there.faults.append(counted(2, answers(method, ending, status, Retry_After="0")))
    assert copy(here, there).agrees
    assert there.data(image_id) == DATA


def test_an_upload_whose_answer_is_lost_is_not_repeated(here: Side, there: Side) -> None:
    image_id = here.add(DATA)
    there.faults.append(counted(1, loses_answers("PUT", "/file")))
    there.faults.append(counted(1, loses_answers("POST", "/images")))
    assert only(copy(here, there)).result == "copied"
    assert there.data(image_id) == DATA
    assert there.requests("PUT", "/file") == 1


def test_a_refusal_is_told_in_the_services_own_words(here: Side, there: Side) -> None:
    here.add(DATA)
    page = "<html><head><title>403</title></head><body><h1>403 Forbidden</h1>Quota &amp; more</body></html>"
    there.faults.append(answers("POST", "/images", "403 Forbidden", page))
    failed = only(copy(here, there))
    assert failed.error == f"{there.url}: 403 403 Forbidden Quota & more"


def test_one_failure_does_not_keep_the_others_back(here: Side, there: Side) -> None:
    made = [here.add(DATA[:1000] + bytes([number])) for number in range(4)]
    here.faults.append(answers("GET", f"{made[1]}/file", "500 Internal Server Error"))
    report = copy(here, there)
    assert results(report) == dict.fromkeys(made, "copied") | {made[1]: "failed"}
