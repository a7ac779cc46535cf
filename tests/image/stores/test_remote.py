"""What is particular to S3 and RBD stores, and what makes the settings of stores wrong."""

import logging
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from pileus.image.domain import Location
from pileus.image.stores.registry import build_stores
from pileus.image.stores.s3 import S3Store
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.config import SettingsError
from pileus.kernel.errors import Conflict, Unavailable
from pileus.kernel.fetch import Fetcher, FetchSettings
from tests.image.stores.conftest import Case, RbdCase, S3Case

ONE, OTHER = str(uuid4()), str(uuid4())
MakeCase = Callable[[str], Case]


def s3_case(make_case: MakeCase) -> S3Case:
    case = make_case("s3")
    assert isinstance(case, S3Case)
    return case


def rbd_case(make_case: MakeCase) -> RbdCase:
    case = make_case("rbd on a fake")
    assert isinstance(case, RbdCase)
    return case


# --- S3 -----------------------------------------------------------------------------------------------------


def test_unfinished_uploads_are_found_and_removed(make_case: MakeCase) -> None:
    case = s3_case(make_case)
    bucket = case.settings.s3_bucket
    for image_id in (ONE, OTHER):
        upload = case.client.create_multipart_upload(Bucket=bucket, Key=f"images/{image_id}")["UploadId"]
        case.client.upload_part(
            Bucket=bucket, Key=f"images/{image_id}", UploadId=upload, PartNumber=1, Body=os.urandom(5 << 20)
        )
    assert case.store.images() == tuple(sorted((ONE, OTHER)))
    case.store.discard(ONE)
    assert case.store.images() == (OTHER,)


def test_a_source_that_fails_leaves_no_unfinished_upload(make_case: MakeCase) -> None:
    case = s3_case(make_case)

    def failing() -> Iterator[bytes]:
        yield os.urandom(11 << 20)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        case.store.write(ONE, failing())
    assert "Uploads" not in case.client.list_multipart_uploads(Bucket=case.settings.s3_bucket)


def test_objects_that_are_not_ours_are_left_alone(make_case: MakeCase) -> None:
    case = s3_case(make_case)
    for key in (f"other/{ONE}", "images/readme", ONE):
        case.client.put_object(Bucket=case.settings.s3_bucket, Key=key, Body=b"x")
    case.store.write(ONE, iter([b"ours"]))
    assert case.store.images() == (ONE,)
    case.store.discard(ONE)
    assert len(case.client.list_objects_v2(Bucket=case.settings.s3_bucket)["Contents"]) == 3


def test_an_upload_takes_constant_memory(make_case: MakeCase) -> None:
    case = s3_case(make_case)
    piece = os.urandom(1 << 20)
    case.store.write(OTHER, iter([piece]))  # what boto3 itself needs is there now
    tracemalloc.start()
    case.store.write(ONE, (piece for _ in range(60)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 << 20
    assert case.store.size(ONE) == 60 << 20


def test_wrong_credentials_make_a_store_unavailable_and_are_not_told(
    make_case: MakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    case = s3_case(make_case)
    caplog.set_level(logging.DEBUG)
    wrong = S3Store("bucket", replace(case.settings, s3_secret_key="letmein-please"))
    with pytest.raises(Unavailable) as caught:
        wrong.write(ONE, iter([b"x"]))
    assert "letmein-please" not in caplog.text + str(caught.value) + wrong.url(ONE)
    assert case.settings.s3_access_key not in caplog.text + str(caught.value) + wrong.url(ONE)


def test_a_missing_bucket_makes_a_store_unavailable(make_case: MakeCase) -> None:
    case = s3_case(make_case)
    with pytest.raises(Unavailable, match="NoSuchBucket"):
        S3Store("bucket", replace(case.settings, s3_bucket="missing")).write(ONE, iter([b"x"]))


# --- RBD, on a fake ------------------------------------------------------------------------------------------


def test_an_image_that_disks_are_cloned_from_stays(make_case: MakeCase) -> None:
    case = rbd_case(make_case)
    locator = case.store.write(ONE, iter([b"x"]))
    device = case.cluster.devices[ONE]
    assert device.snapshots == {"snap": True}
    assert not case.store.in_use(locator)
    device.clones = 1
    assert case.store.in_use(locator)
    for ask in (case.store.remove, case.store.discard):
        with pytest.raises(Conflict):
            ask(locator)
    assert b"".join(case.store.read(locator)) == b"x"
    device.clones = 0
    case.store.remove(locator)
    assert case.cluster.devices == {}
    assert not case.store.in_use(locator)


def test_no_connection_to_the_cluster_is_left_open(make_case: MakeCase) -> None:
    case = rbd_case(make_case)
    case.store.write(ONE, iter([b"x"]))
    reader = case.store.read(ONE)
    assert case.cluster.open == 1
    reader.close()  # type: ignore[attr-defined]  # a generator
    assert case.cluster.open == 0


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "default", "problem"),
    [
        ({"a": StoreSettings(kind="http")}, "", "none of the stores takes data"),
        ({"a": StoreSettings(), "b": StoreSettings()}, "", "'a' and 'b' have the same directory"),
        ({"os_glance_a": StoreSettings()}, "", "is reserved"),
        ({"a": StoreSettings(), "b": StoreSettings(kind="http")}, "b", "no store 'b' that takes data"),
        ({"a": StoreSettings(), "b": StoreSettings(kind="s3")}, "", "'b' needs s3_bucket"),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, settings: dict[str, StoreSettings], default: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        build_stores(settings, tmp_path, default)


@pytest.mark.parametrize(
    ("kind", "module", "problem"), [("rbd", "rados", "Ceph's Python bindings"), ("s3", "boto3", "pip install pileus")]
)
def test_a_store_whose_library_is_absent_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str, problem: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    settings = {"a": StoreSettings(), "b": StoreSettings(kind=kind, s3_bucket="x")}
    with pytest.raises(SettingsError, match=problem):
        build_stores(settings, tmp_path)


def test_the_heaviest_store_comes_first(tmp_path: Path) -> None:
    settings = {
        "light": StoreSettings(weight=1),
        "heavy": StoreSettings(weight=9, directory=Path("h")),
        "web": StoreSettings(kind="http", weight=1),
    }
    stores = build_stores(settings, tmp_path, fetcher=Fetcher(FetchSettings(), lambda _host, _port: ["1.1.1.1"]))
    locations = [Location(name, ONE, {}) for name in ("gone", "web", "light", "heavy", "light")]
    assert [location.store for location in stores.by_weight(locations)] == ["heavy", "web", "light", "light", "gone"]
    assert stores.names_of(locations) == ["heavy", "web", "light", "gone"]
    assert stores.default.name == "light"
    found = stores.find("http://a.test/x")
    assert found is not None
    assert (found[0].name, found[1]) == ("web", "http://a.test/x")
    assert stores.find("file:///etc/passwd") is None
