"""Quotas of images by unified limits: what is counted, when it is refused, and that nobody slips past at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.identity.limits.domain import Bound
from pileus.image.domain import Image, Status
from pileus.image.models import image as image_table
from pileus.image.models import image_location
from pileus.image.settings import ImageSettings
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import TooLarge
from tests.image.conftest import Api, make_api

MIB = 1 << 20
BOB = "bob@p2:member"
ADMIN = "root@p9:admin"


class Limits:
    """Identity's limits as a test sets them: a project's own, and what all projects of the domain have together."""

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        self.together: dict[str, int] = {}

    def bounds(self, _tx: Tx, project_id: str, service_type: str, names: Sequence[str]) -> list[Bound]:
        assert service_type == "image"
        own = Bound(project_id, (project_id,), {name: self.own[name] for name in names if name in self.own})
        domain = {name: self.together[name] for name in names if name in self.together}
        return [own, Bound("d1", ("p1", "p2"), domain)] if domain else [own]


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def api(sqlite: Database, tmp_path: Path, limits: Limits) -> Api:
    return make_api(sqlite, tmp_path, limits=limits)


@pytest.fixture
def api_everywhere(database: Database, tmp_path: Path, limits: Limits) -> Api:
    return make_api(database, tmp_path, limits=limits)


def used(api: Api, token: str | None = None) -> dict[str, int]:
    usage = api.call("GET", "/info/usage", token).json["usage"]
    return {name.removeprefix("image_"): of["usage"] for name, of in usage.items()}


def found(api: Api, image_id: str) -> Image:
    with api.db.read() as tx:
        image = api.images.find(tx, image_id)
    assert image is not None
    return image


def chunked(api: Api, image_id: str, size: int) -> None:
    """An upload that does not say how long it is."""
    api.images.stored.upload(found(api, image_id), iter([b"\1" * size]))


def test_images_are_counted(api_everywhere: Api, limits: Limits) -> None:
    api = api_everywhere
    limits.own = {"image_count_total": 1}
    first = api.create()
    refused = api.call("POST", "/images", json={"name": "second"})
    assert (refused.status_code, refused.json["code"].split()[0]) == (413, "413")
    assert "image_count_total" in refused.json["message"]
    assert api.list() == [None], "the refused one is not there"
    api.create(BOB)
    api.create(ADMIN, owner="p3")
    assert api.call("POST", "/images", ADMIN, json={"owner": "p1"}).status_code == 413, "who owns it, not who makes it"
    limits.own = {"image_count_total": 2}
    api.create()
    assert api.call("POST", "/images", json={}).status_code == 413
    assert api.call("DELETE", f"/images/{first}").status_code == 204
    api.create()
    limits.own = {"image_count_total": 0}
    assert api.call("POST", "/images", json={}).status_code == 413
    limits.own = {"image_count_total": -1}
    api.create()


def test_usage(api_everywhere: Api, limits: Limits) -> None:
    api = api_everywhere
    limits.own = {"image_size_total": 10, "image_count_total": 5}
    images = [api.create() for _ in range(4)]
    other = api.create(BOB)
    assert api.upload(other, b"\1" * MIB, BOB).status_code == 204
    assert api.upload(images[0], b"\1" * (2 * MIB)).status_code == 204
    assert api.upload(images[1], b"\1" * (MIB + 5)).status_code == 204
    with api.db.write() as tx:
        tx.execute(sa.insert(image_location).values(image_id=images[1], position=1, store="second"))
        for image_id, status, size in ((images[2], "uploading", 3 * MIB), (images[3], "importing", MIB - 1)):
            tx.execute(sa.update(image_table).where(image_table.c.id == image_id).values(status=status, size=size))
    answer = api.call("GET", "/info/usage")
    assert answer.json == {
        "usage": {
            "image_size_total": {"limit": 10, "usage": 4},
            "image_stage_total": {"limit": -1, "usage": 3},
            "image_count_total": {"limit": 5, "usage": 4},
            "image_count_uploading": {"limit": -1, "usage": 2},
        }
    }
    assert api.call("POST", f"/images/{images[0]}/actions/deactivate").status_code == 204
    assert used(api) == {"size_total": 4, "stage_total": 3, "count_total": 4, "count_uploading": 2}
    api.call("DELETE", f"/images/{images[0]}")
    assert used(api)["size_total"] == 2
    assert used(api, BOB) == {"size_total": 1, "stage_total": 0, "count_total": 1, "count_uploading": 0}


def test_sizes(api: Api, limits: Limits) -> None:
    limits.own = {"image_size_total": 1}
    first, second, third = (api.create() for _ in range(3))
    assert api.upload(first, b"\1" * MIB).status_code == 204, "exactly the limit"
    refused = api.upload(second, b"\1")
    assert (refused.status_code, api.show(second)["status"]) == (413, "queued"), "it said that it does not fit"
    assert "1 bytes more are wanted" in refused.json["message"]
    chunked(api, second, MIB)  # not over the limit when it began
    assert used(api)["size_total"] == 2
    with pytest.raises(TooLarge, match="image_size_total"):
        chunked(api, third, 1)
    assert api.show(third)["status"] == "queued"
    assert api.upload(third, b"").status_code == 413, "over already"
    limits.own = {"image_size_total": 3}
    assert api.upload(third, b"\1" * MIB).status_code == 204


def test_a_failed_upload_gives_its_place_back(api: Api, limits: Limits) -> None:
    limits.own = {"image_count_uploading": 1}
    first, second = api.create(), api.create()

    def breaking_off() -> Iterator[bytes]:
        yield b"\1" * 1000
        assert used(api)["count_uploading"] == 1
        assert api.upload(second, b"\1").status_code == 413
        raise ConnectionResetError

    with pytest.raises(Exception, match="could not be stored"):
        api.images.stored.upload(found(api, first), breaking_off())
    assert used(api)["count_uploading"] == 0
    assert api.upload(second, b"\1").status_code == 204


def test_deletion_during_the_upload_gives_the_quota_back(api_everywhere: Api, limits: Limits) -> None:
    api = api_everywhere
    limits.own = {"image_count_uploading": 1, "image_count_total": 1, "image_size_total": 1}
    doomed = api.create()
    later: list[str] = []

    def deleted_half_way() -> Iterator[bytes]:
        yield b"\1" * 1000
        assert api.call("DELETE", f"/images/{doomed}").status_code == 204
        assert used(api) == {"size_total": 0, "stage_total": 0, "count_total": 0, "count_uploading": 0}
        later.append(api.create())
        assert api.upload(later[0], b"\1" * MIB).status_code == 204
        yield b"\1" * 1000

    with pytest.raises(Exception, match="was deleted while"):
        api.images.stored.upload(found(api, doomed), deleted_half_way())
    assert used(api) == {"size_total": 1, "stage_total": 0, "count_total": 1, "count_uploading": 0}


def test_staging(api_everywhere: Api, limits: Limits) -> None:
    api = api_everywhere
    limits.own = {"image_count_uploading": 2, "image_stage_total": 1}
    images = [api.create() for _ in range(4)]

    def stage(image_id: str, size: int, announced: int | None = None) -> None:
        def begin(tx: Tx) -> None:
            row = sa.update(image_table).where(image_table.c.id == image_id)
            tx.execute(row.values(status=Status.UPLOADING))
            api.images.quotas.check_stage(tx, "p1", announced)
            tx.execute(row.values(size=size))

        api.db.transact(begin)

    with pytest.raises(TooLarge, match="image_stage_total"):
        stage(images[0], MIB + 1, MIB + 1)
    assert api.show(images[0])["status"] == "queued"
    stage(images[0], MIB, MIB)
    stage(images[1], MIB)
    with pytest.raises(TooLarge, match=r"image_count_uploading|image_stage_total"):
        stage(images[2], 1)
    assert api.upload(images[3], b"\1").status_code == 413, "what is staged is uploading too"
    limits.own = {"image_count_uploading": 4, "image_stage_total": 1}
    with pytest.raises(TooLarge, match="image_stage_total"):
        stage(images[2], 1)
    assert api.upload(images[3], b"\1").status_code == 204, "a full staging area does not stop an upload"


def test_what_is_staged_may_be_imported_when_the_staging_area_is_full(api: Api, limits: Limits) -> None:
    image_id, other = api.create(), api.create()
    octets = {"Content-Type": "application/octet-stream"}
    assert api.call("PUT", f"/images/{image_id}/stage", body=bytes(2 * MIB), headers=octets).status_code == 204
    limits.own = {"image_stage_total": 1}

    def imported(image_id: str, **method: str) -> int:
        return api.call("POST", f"/images/{image_id}/import", json={"method": method}).status_code

    assert imported(other, name="web-download", uri="http://93.184.215.14/image") == 413
    assert imported(image_id, name="glance-direct") == 202
    assert used(api)["stage_total"] == 2, "it takes its place until it is imported"


def at_once(count: int, work: Callable[[int], int]) -> list[int]:
    """What several threads answer that begin at the same moment, sorted."""
    barrier = threading.Barrier(count)

    def one(number: int) -> int:
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(one, range(count)))


def test_no_two_take_the_last_place(api_everywhere: Api, limits: Limits) -> None:
    api = api_everywhere
    limits.own = {"image_count_total": 3}
    assert at_once(8, lambda _: api.call("POST", "/images", json={}).status_code) == [201] * 3 + [413] * 5
    assert used(api)["count_total"] == 3


def test_uploads_at_once(api_everywhere: Api, limits: Limits) -> None:
    """The two that are let in stay until the four others were refused."""
    api = api_everywhere
    limits.own = {"image_count_uploading": 2}
    images = [found(api, api.create()) for _ in range(6)]
    refused = threading.Semaphore(0)

    def staying() -> Iterator[bytes]:
        yield b"\1"
        for _ in range(2):
            assert refused.acquire(timeout=30)

    def upload(number: int) -> int:
        try:
            api.images.stored.upload(images[number], staying())
        except TooLarge as err:
            refused.release()
            return err.status
        return 204

    assert at_once(6, upload) == [204, 204, 413, 413, 413, 413]
    assert used(api)["count_uploading"] == 0


def test_projects_of_a_domain_share(api_everywhere: Api, limits: Limits) -> None:
    api = api_everywhere
    limits.own = {"image_count_total": 4}
    limits.together = {"image_count_total": 5, "image_size_total": 1}
    tokens = [api.token, BOB]
    made = at_once(10, lambda number: api.call("POST", "/images", tokens[number % 2], json={}).status_code)
    assert made == [201] * 5 + [413] * 5
    mine, theirs = used(api)["count_total"], used(api, BOB)["count_total"]
    assert (mine + theirs, max(mine, theirs) <= 4) == (5, True)
    assert api.call("GET", "/info/usage").json["usage"]["image_count_total"]["limit"] == 4


def test_without_quotas(sqlite: Database, tmp_path: Path, limits: Limits) -> None:
    limits.own = {"image_count_total": 0}
    api = make_api(sqlite, tmp_path, ImageSettings(use_keystone_limits=False), limits)
    assert api.upload(api.create(), b"\1").status_code == 204
    assert api.call("GET", "/info/usage").json == {"usage": {}}


def test_a_cloud_where_nothing_is_registered(sqlite: Database, tmp_path: Path) -> None:
    api = make_api(sqlite, tmp_path)
    assert api.upload(api.create(), b"\1").status_code == 204
    usage: dict[str, Any] = api.call("GET", "/info/usage").json["usage"]
    assert usage["image_count_total"] == {"limit": -1, "usage": 1}
