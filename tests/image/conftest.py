"""The image API without sockets: the real application on a real database, with tokens that are names."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from pileus.image import policy
from pileus.image.cache.settings import CacheSettings
from pileus.image.imports.regions import Regions
from pileus.image.imports.sagas import SAGAS as IMPORT_SAGAS
from pileus.image.locations.sagas import SAGAS as LOCATION_SAGAS
from pileus.image.protection import Protection
from pileus.image.quotas.service import Limits
from pileus.image.routes import make_service
from pileus.image.service import Images
from pileus.image.settings import ImageSettings
from pileus.image.stores.registry import Stores, build_stores
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.auth import Actor
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from pileus.kernel.errors import Unauthorized
from pileus.kernel.fetch import Fetcher
from pileus.kernel.nudge import Nudges
from pileus.kernel.policy import Policy
from pileus.kernel.saga import Sagas
from pileus.kernel.seal import Seal

PATCH = "application/openstack-images-v2.1-json-patch"


class Names:
    """Authenticates `user@project:role`."""

    def authenticate(self, token: str) -> Actor:
        try:
            who, role = token.split(":")
            user, project = who.split("@")
        except ValueError as err:
            raise Unauthorized("The token is malformed.") from err
        roles = {"admin": {"admin", "member", "reader"}, "member": {"member", "reader"}, "reader": {"reader"}}[role]
        return Actor(user_id=user, project_id=project, roles=frozenset(roles), is_admin=role == "admin")


@dataclass
class Api:
    """Calls the API in the name of somebody."""

    client: falcon.testing.TestClient
    images: Images
    stores: Stores
    db: Database
    clock: FakeClock
    cache_dir: Path
    token: str = "ann@p1:member"

    def call(self, method: str, path: str, token: str | None = None, **more: Any) -> falcon.testing.Result:
        given = more.pop("headers", {})
        headers = {"X-Auth-Token": token or self.token, "Accept": "application/json", **given}
        return self.client.simulate_request(method, f"/image/v2{path}", headers=headers, **more)

    def create(self, token: str | None = None, **fields: Any) -> str:
        values = {"disk_format": "raw", "container_format": "bare", **fields}
        answer = self.call("POST", "/images", token, json=values)
        assert answer.status_code == 201, answer.text
        self.clock.advance(1)
        image_id: str = answer.json["id"]
        return image_id

    def upload(self, image_id: str, data: bytes, token: str | None = None) -> falcon.testing.Result:
        headers = {"Content-Type": "application/octet-stream"}
        return self.call("PUT", f"/images/{image_id}/file", token, body=data, headers=headers)

    def patch(self, image_id: str, operations: Any, token: str | None = None) -> falcon.testing.Result:
        return self.call(
            "PATCH", f"/images/{image_id}", token, body=json.dumps(operations), headers={"Content-Type": PATCH}
        )

    def show(self, image_id: str, token: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/images/{image_id}", token).json
        return found

    def list(self, query: str = "", token: str | None = None) -> list[str]:
        answer = self.call("GET", "/images", token, query_string=query)
        assert answer.status_code == 200, answer.text
        return [image["name"] for image in answer.json["images"]]


def make_api(
    db: Database,
    directory: Path,
    settings: ImageSettings | None = None,
    limits: Limits | None = None,
    protection: Protection | None = None,
) -> Api:
    clock = FakeClock()
    settings = replace(
        settings or ImageSettings(),
        cache=CacheSettings("node1", directory / "image-cache"),
        staging_dir=directory / "staging",
    )
    fetcher = Fetcher(settings.fetch)
    stores = build_stores(settings.stores, directory / "images", settings.default_store, fetcher)
    sagas = Sagas(clock, Nudges(), (*IMPORT_SAGAS, *LOCATION_SAGAS))
    seal, regions = Seal("secret", "import"), Regions("RegionOne", lambda _region, _interface: None)
    images = Images(settings, db, stores, clock, sagas, seal, regions, limits=limits, protection=protection)
    dispatcher = Dispatcher(db, Policy(policy.RULES), Names(), "http://cloud")
    app = make_app(dispatcher, [make_service(images)])
    return Api(falcon.testing.TestClient(app), images, stores, db, clock, directory / "image-cache")


@pytest.fixture
def api(sqlite: Database, tmp_path: Path) -> Api:
    return make_api(sqlite, tmp_path)


@pytest.fixture
def api_everywhere(database: Database, tmp_path: Path) -> Api:
    """The API on every kind of database."""
    return make_api(database, tmp_path)
