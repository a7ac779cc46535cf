"""All stores of the cloud, by name and by weight."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pileus.image.domain import Location
from pileus.image.stores.base import Store
from pileus.image.stores.files import FileStore
from pileus.image.stores.http import HttpStore
from pileus.image.stores.rbd import RbdStore
from pileus.image.stores.s3 import S3Store
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.config import SettingsError
from pileus.kernel.errors import BadRequest, NotFound
from pileus.kernel.fetch import Fetcher, FetchSettings

RESERVED = "os_glance_"  # Glance's own names of stores begin so


class Stores:
    """The stores that the operator configured. There is at least one that can be written to."""

    def __init__(self, stores: Sequence[Store], settings: Mapping[str, StoreSettings], default: str = "") -> None:
        """`default`: the name of the store for images that ask for none; the first that can be written to if empty."""
        self._stores = {store.name: store for store in stores}
        self.settings = settings
        self.default = self.writable(default or next(store.name for store in stores if not store.read_only))

    def all(self) -> tuple[Store, ...]:
        """In the operator's order."""
        return tuple(self._stores.values())

    def has(self, name: str) -> bool:
        """Whether there is a store of that name."""
        return name in self._stores

    def get(self, name: str) -> Store:
        """One store. NotFound."""
        if name not in self._stores:
            raise NotFound(f"There is no store {name}.")
        return self._stores[name]

    def writable(self, name: str) -> Store:
        """A store that takes data. BadRequest."""
        store = self._stores.get(name)
        if store is None:
            raise BadRequest(f"There is no store '{name}'; the stores are: {', '.join(self._stores)}.")
        if store.read_only:
            raise BadRequest(f"Store '{name}' takes no data: it only reads what is elsewhere.")
        return store

    def is_near(self, name: str) -> bool:
        """Whether a store's data is on this machine's own disk."""
        return name in self._stores and self._stores[name].kind == "file"

    def weight(self, name: str) -> int:
        """How much a store is preferred for reading; one that is configured no more comes last."""
        return self.settings[name].weight if name in self.settings else -(1 << 31)

    def by_weight(self, locations: Iterable[Location]) -> list[Location]:
        """The heaviest first; of equally heavy ones, in their own order."""
        return sorted(locations, key=lambda location: -self.weight(location.store))

    def names_of(self, locations: Iterable[Location]) -> list[str]:
        """The stores of these locations, the heaviest first, each once."""
        return list(dict.fromkeys(location.store for location in self.by_weight(locations)))

    def find(self, url: str) -> tuple[Store, str] | None:
        """The store that an address belongs to, and the locator there."""
        for store in self._stores.values():
            locator = store.locator_of(url)
            if locator is not None:
                return store, locator
        return None


def build_stores(
    settings: Mapping[str, StoreSettings], files_dir: Path, default: str = "", fetcher: Fetcher | None = None
) -> Stores:
    """The stores of the settings; file stores with a relative directory are under `files_dir`.

    SettingsError names every store that cannot be. A store that is configured well and only cannot be reached is no
    error: it may be there later.
    """
    problems = _problems(settings, files_dir, default)
    stores = []
    for name, store in settings.items():
        try:
            stores.append(_build(name, store, files_dir, fetcher or Fetcher(FetchSettings())))
        except ValueError as err:
            problems.append(f"image.stores: {err}")
    if problems:
        raise SettingsError(problems)
    return Stores(stores, settings, default)


def _build(name: str, settings: StoreSettings, files_dir: Path, fetcher: Fetcher) -> Store:
    match settings.kind:
        case "http":
            return HttpStore(name, fetcher)
        case "s3":
            return S3Store(name, settings)
        case "rbd":
            return RbdStore(name, settings)
        case _:
            return FileStore(name, files_dir / settings.directory, settings)


def _problems(settings: Mapping[str, StoreSettings], files_dir: Path, default: str) -> list[str]:
    problems = [f"image.stores: the name '{name}' is reserved" for name in settings if name.startswith(RESERVED)]
    directories: dict[Path, str] = {}
    for name, store in settings.items():
        if store.kind == "file":
            other = directories.setdefault(files_dir / store.directory, name)
            if other != name:
                problems.append(f"image.stores: '{other}' and '{name}' have the same directory")
    writable = [name for name, store in settings.items() if store.kind != "http"]
    if not writable:
        problems.append("image.stores: none of the stores takes data")
    if default and default not in writable:
        problems.append(f"image.default_store: there is no store '{default}' that takes data")
    return problems
