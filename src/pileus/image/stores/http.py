"""Images that are on web servers: a store that keeps nothing, and reads what its locations point at."""

from collections.abc import Iterator

from pileus.kernel.errors import BadRequest
from pileus.kernel.fetch import Fetcher


class HttpStore:
    """The locator is the URL, as its owner gave it. What may be fetched is for the Fetcher to judge, at every read."""

    kind = "http"
    read_only = True

    def __init__(self, name: str, fetcher: Fetcher) -> None:
        self.name = name
        self._fetcher = fetcher

    def write(self, image_id: str, chunks: Iterator[bytes]) -> str:
        """BadRequest, always."""
        raise BadRequest(f"Store '{self.name}' takes no data: it only reads what is elsewhere.")

    def read(self, locator: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self._fetcher.open(locator, start, length).chunks

    def size(self, locator: str) -> int:
        size = self._fetcher.head(locator).size
        if size is None:
            raise BadRequest("The server does not say how large the image is.")
        return size

    def remove(self, locator: str) -> None:
        """Nothing: what is elsewhere is not ours."""

    def in_use(self, locator: str) -> bool:
        return False

    def discard(self, image_id: str) -> None:
        """Nothing."""

    def images(self) -> tuple[str, ...]:
        return ()

    def url(self, locator: str) -> str:
        return locator

    def locator_of(self, url: str) -> str | None:
        """BadRequest if it is an address on the web that may not be fetched from."""
        if not url.lower().startswith(("http://", "https://")):
            return None
        self._fetcher.check(url)
        return url
