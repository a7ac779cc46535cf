"""One store of each kind, for the tests that all of them pass."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest

from pileus.image.stores.base import Store
from pileus.image.stores.files import FileStore
from pileus.image.stores.http import HttpStore
from pileus.image.stores.rbd import RbdStore
from pileus.image.stores.s3 import S3Store
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.fetch import Fetcher, FetchSettings
from tests.image.stores.fake_ceph import Cluster
from tests.image.stores.servers import Swift, WebServer, start_swift

WRITABLE = ("file", "file by content", "s3", "rbd on a fake")
LAB = FetchSettings(allowed_ports=(), allowed_networks=("127.0.0.0/8",), connect_timeout=2, answer_timeout=2)


class Case(Protocol):
    """A store with the means to do to it what happens to stores."""

    store: Store

    def put(self, image_id: str, data: bytes) -> str:
        """Have the data there; its locator."""
        ...

    def leave(self) -> None:
        """The store is gone."""
        ...

    def come_back(self) -> None:
        """The store is there again."""
        ...


class FileCase:
    """A directory that can be moved away."""

    def __init__(self, directory: Path, layout: str) -> None:
        self.directory = directory / "store"
        self.store: Store = FileStore("local", self.directory, StoreSettings(layout=layout))

    def put(self, image_id: str, data: bytes) -> str:
        return self.store.write(image_id, iter([data]))

    def leave(self) -> None:
        self.directory.rename(self.directory.with_name("away"))

    def come_back(self) -> None:
        self.directory.with_name("away").rename(self.directory)


class HttpCase:
    """A web server that can be stopped."""

    def __init__(self) -> None:
        self.server = WebServer()
        self.store: Store = HttpStore("web", Fetcher(LAB))

    def put(self, image_id: str, data: bytes) -> str:
        return self.server.put(image_id, data)

    def leave(self) -> None:
        self.server.stop()

    def come_back(self) -> None:
        files = self.server.files
        self.server = WebServer(self.server.port)
        self.server.files = files


class S3Case:
    """A bucket of its own on a real Swift."""

    def __init__(self, swift: Swift) -> None:
        self.settings = StoreSettings(
            kind="s3",
            s3_endpoint=swift.endpoint,
            s3_access_key=swift.access_key,
            s3_secret_key=swift.secret_key,
            s3_bucket=f"b{uuid4().hex}",
            s3_prefix="images/",
            s3_part_size=5,
        )
        self.real = S3Store("bucket", self.settings)
        self.store: Store = self.real
        self.client: Any = self.real._client
        self.client.create_bucket(Bucket=self.settings.s3_bucket)

    def put(self, image_id: str, data: bytes) -> str:
        return self.store.write(image_id, iter([data]))

    def leave(self) -> None:
        self.store = S3Store("bucket", replace(self.settings, s3_endpoint="http://127.0.0.1:9"))

    def come_back(self) -> None:
        self.store = self.real


class RbdCase:
    """A fake cluster that can be away."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.store: Store = RbdStore("ceph", StoreSettings(kind="rbd"), self.cluster.bindings)

    def put(self, image_id: str, data: bytes) -> str:
        return self.store.write(image_id, iter([data]))

    def leave(self) -> None:
        self.cluster.there = False

    def come_back(self) -> None:
        self.cluster.there = True


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    yield from start_swift(tmp_path_factory.mktemp("swift"))


@pytest.fixture
def make_case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Case]]:
    made: list[Case] = []

    def make(kind: str) -> Case:
        case: Case
        match kind:
            case "file" | "file by content":
                case = FileCase(tmp_path, "content" if "content" in kind else "id")
            case "http":
                case = HttpCase()
            case "s3":
                case = S3Case(request.getfixturevalue("swift"))
            case _:
                case = RbdCase()
        made.append(case)
        return case

    yield make
    for case in made:
        if isinstance(case, HttpCase):
            case.server.stop()


@pytest.fixture(params=(*WRITABLE, "http"))
def case(request: pytest.FixtureRequest, make_case: Callable[[str], Case]) -> Case:
    """A store of any kind."""
    return make_case(request.param)


@pytest.fixture(params=WRITABLE)
def writable(request: pytest.FixtureRequest, make_case: Callable[[str], Case]) -> Case:
    """A store of any kind that takes data."""
    return make_case(request.param)


@pytest.fixture
def data() -> bytes:
    """More than two parts of an S3 upload."""
    return os.urandom((11 << 20) + 7)
