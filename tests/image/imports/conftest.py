"""Imports run to their end in the test's own thread, by an engine on the fake clock."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import falcon.testing
import pytest

from pileus.image.imports.sagas import SAGAS
from pileus.image.imports.settings import ImportSettings
from pileus.image.settings import ImageSettings
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.db import Database
from pileus.kernel.fetch import FetchSettings
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import Engine, Sagas, drain
from tests.image.conftest import Api, make_api

STORES = {
    "first": StoreSettings(directory=Path("first"), weight=10),
    "second": StoreSettings(directory=Path("second"), weight=5),
}
LOOPBACK = FetchSettings(allowed_networks=("127.0.0.0/8",), allowed_ports=(), disallowed_ports=(1,))


@dataclass
class Importer:
    """Imports through the API, and the conductor that runs them."""

    api: Api

    def stage(self, image_id: str, data: bytes, **headers: str) -> falcon.testing.Result:
        headers = {"Content-Type": "application/octet-stream", **headers}
        return self.api.call("PUT", f"/images/{image_id}/stage", body=data, headers=headers)

    def ask(self, image_id: str, method: str = "glance-direct", token: str | None = None, **body: Any) -> Any:
        """POST the import; `body`: what stands beside the method, with the method's own parameters in `with_`."""
        document = {"method": {"name": method, **body.pop("with_", {})}, **body}
        return self.api.call("POST", f"/images/{image_id}/import", token, json=document)

    def run(self) -> None:
        """Conduct until nothing is left to do."""
        services = SimpleNamespace(images=self.api.images)
        sagas = Sagas(self.api.clock, Nudges(), SAGAS)
        assert drain(Engine(self.api.db, sagas, services, self.api.clock))

    def tasks(self, image_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.call("GET", f"/images/{image_id}/tasks").json["tasks"]
        return found

    def staged(self) -> tuple[str, ...]:
        return self.api.images.imports.staging.images()

    def kept(self) -> dict[str, tuple[str, ...]]:
        """The images that each store holds something of."""
        return {store.name: store.images() for store in self.api.stores.all()}


def make_importer(db: Database, directory: Path, **settings: Any) -> Importer:
    image_settings = ImageSettings(stores=STORES, fetch=LOOPBACK, imports=ImportSettings(**settings))
    return Importer(make_api(db, directory, image_settings))


@pytest.fixture
def importer(sqlite: Database, tmp_path: Path) -> Importer:
    return make_importer(sqlite, tmp_path)
