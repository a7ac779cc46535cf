"""Logging in at an identity service, and tokens that expire while images are carried."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pileus.replicator.connection import connect
from pileus.replicator.copier import Liberties
from pileus.replicator.display import Lines
from pileus.replicator.errors import LoginFailed, UsageError
from pileus.replicator.logins import Login, of_cloud
from pileus.replicator.places import Selection
from pileus.replicator.records import Rules
from pileus.replicator.runner import Run
from pileus.replicator.service import ImageService
from tests.replicator.conftest import Environ, Side, StartResponse, listening, patient

DATA = bytes(range(256)) * 8192


class Keystone:
    """An identity service that knows one password. Each token is another one; `expired` are good no more."""

    def __init__(self, images: Side) -> None:
        self._images = images
        self._numbers = itertools.count()
        self.issued: list[str] = []
        self.expired: set[str] = set()
        images.faults.append(self._refuse)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        base = f"http://{environ['HTTP_HOST']}"
        if environ["REQUEST_METHOD"] == "GET":
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{base}/v3/"}]}
            return self._answer(start_response, "200 OK", {"version": version})
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        if asked["auth"]["identity"]["password"]["user"]["password"] != "right":
            message = {"error": {"message": "The password is wrong.", "code": 401}}
            return self._answer(start_response, "401 Unauthorized", message)
        self.issued.append(f"ann@p1:member{next(self._numbers)}")
        endpoint = {"interface": "public", "region_id": "north", "region": "north", "url": self._images.url}
        token = {
            "expires_at": "2999-01-01T00:00:00.000000Z", "issued_at": "2026-01-01T00:00:00.000000Z",
            "methods": ["password"], "user": {"id": "ann", "name": "ann", "domain": {"id": "d", "name": "d"}},
            "catalog": [{"type": "image", "name": "glance", "id": "c", "endpoints": [endpoint]}],
        }  # fmt: skip
        return self._answer(start_response, "201 Created", {"token": token}, ("X-Subject-Token", self.issued[-1]))

    def _answer(
        self, start_response: StartResponse, status: str, document: Any, *more: tuple[str, str]
    ) -> Iterable[bytes]:
        body = json.dumps(document).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *more])
        return [body]

    def _refuse(self, environ: Environ, start_response: StartResponse, _side: Side) -> Iterable[bytes] | None:
        token = environ.get("HTTP_X_AUTH_TOKEN", "")
        if token in self.issued and token not in self.expired:
            environ["HTTP_X_AUTH_TOKEN"] = "ann@p1:member"
        elif token in self.expired:
            return self._answer(start_response, "401 Unauthorized", {"message": "The token has expired."})
        return None


@pytest.fixture
def keystone(there: Side) -> Keystone:
    return Keystone(there)


@pytest.fixture
def login(keystone: Keystone, tmp_path: Path) -> Iterator[Login]:
    server = listening(keystone)
    auth = {"auth_url": f"http://127.0.0.1:{server.bind_addr[1]}/v3", "username": "ann", "password": "right",
            "user_domain_name": "d", "project_name": "p1", "project_domain_name": "d"}  # fmt: skip
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"oslo": {"auth": auth, "region_name": "north"}}}))
    yield of_cloud("oslo", {}, [tmp_path])
    server.stop()


def place(login: Login) -> ImageService:
    return ImageService(connect(login, patient(), timeout=10, connections=2))


def carry(here: Side, target: ImageService) -> Any:
    source = place(Login("here", "admin_token", {"endpoint": here.url, "token": here.token}, endpoint=here.url))
    run = Run(source, target, Selection(), patient(), Lines(quiet=True), jobs=2)
    return run.copy("livecopy", Rules(), Liberties())


def test_the_catalog_tells_where_the_images_are(login: Login, there: Side, keystone: Keystone) -> None:
    image_id = there.add()
    found = place(login).find(image_id)
    assert found is not None
    assert len(keystone.issued) == 1


def test_a_token_that_expires_is_replaced(here: Side, login: Login, there: Side, keystone: Keystone) -> None:
    image_id = here.add(DATA)
    target = place(login)
    keystone.expired.update(keystone.issued)
    assert carry(here, target).agrees
    assert len(keystone.issued) == 2
    assert there.data(image_id) == DATA


def test_a_token_that_expires_before_the_upload_is_replaced(
    here: Side, login: Login, there: Side, keystone: Keystone
) -> None:
    image_id = here.add(DATA)

    def expire(environ: Environ, _start_response: StartResponse, _side: Side) -> None:
        if environ["REQUEST_METHOD"] == "PUT" and len(keystone.issued) == 1:
            keystone.expired.update(keystone.issued)

    there.faults.insert(0, expire)
    assert carry(here, place(login)).agrees
    assert there.data(image_id) == DATA
    assert there.requests("PUT", "/file") == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"password": "wrong"}, "oslo: cannot log in: The password is wrong"),
        ({"auth_url": "http://127.0.0.1:1/v3"}, "oslo: cannot log in: .*Connection refused"),
    ],
)
def test_logins_that_fail_are_told(login: Login, changes: dict[str, str], said: str) -> None:
    with pytest.raises(LoginFailed, match=said):
        place(Login(login.label, auth={**login.auth, **changes}))


def test_a_region_without_images_is_told(login: Login) -> None:
    with pytest.raises(LoginFailed, match="public endpoint for image service in south region not found"):
        place(Login(login.label, auth=login.auth, region="south"))


def test_an_unknown_way_to_log_in_is_told(login: Login) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        place(Login(login.label, "nonsense", login.auth))
    with pytest.raises(UsageError, match="application credential"):
        place(Login(login.label, "v3applicationcredential", {}))
