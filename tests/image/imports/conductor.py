"""A conductor of imports in a process of its own, to be killed: `python -m tests.image.imports.conductor DIRECTORY`."""

import sys
from pathlib import Path
from types import SimpleNamespace

from pileus.image.imports.regions import Regions
from pileus.image.imports.sagas import SAGAS
from pileus.image.imports.settings import ImportSettings
from pileus.image.service import Images
from pileus.image.settings import ImageSettings
from pileus.image.stores.registry import build_stores
from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.nudge import Nudges
from pileus.kernel.saga import Conductor, ConductorSettings, Sagas
from pileus.kernel.seal import Seal
from tests.image.imports.conftest import LOOPBACK, STORES

LEASE = 1.0  # seconds


def build(directory: Path) -> tuple[Database, Images, Conductor]:
    """The image service of a directory, and a conductor for it."""
    clock, nudges = SystemClock(), Nudges()
    db = Database(DatabaseSettings(url=f"sqlite:///{directory}/pileus.db"))
    sagas = Sagas(clock, nudges, SAGAS)
    settings = ImageSettings(
        stores=STORES, fetch=LOOPBACK, staging_dir=directory / "staging", imports=ImportSettings(convert_to="raw")
    )
    stores = build_stores(STORES, directory / "images")
    regions = Regions("RegionOne", lambda _region, _interface: None)
    images = Images(settings, db, stores, clock, sagas, Seal("secret", "import"), regions)
    services = SimpleNamespace(images=images)
    return db, images, Conductor(db, sagas, services, clock, nudges, ConductorSettings(lease_seconds=LEASE))


if __name__ == "__main__":
    build(Path(sys.argv[1]))[2].run_forever()
