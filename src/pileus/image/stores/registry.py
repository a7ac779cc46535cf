"""All stores of the cloud, by name and by weight."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pileus.image.stores.base import Store
from pileus.image.stores.files import FileStore
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.errors import BadRequest, NotFound


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


def build_stores(settings: Mapping[str, StoreSettings], files_dir: Path, default: str = "") -> Stores:
    """The stores of the settings; file stores with a relative directory are under `files_dir`."""
    return Stores([_build(name, store, files_dir) for name, store in settings.items()], settings, default)


def _build(name: str, settings: StoreSettings, files_dir: Path) -> Store:
    return FileStore(name, files_dir / settings.directory)
