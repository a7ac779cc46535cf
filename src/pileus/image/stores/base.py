"""What a store of image data is. Every kind of store passes the same tests."""

from collections.abc import Iterator
from typing import Protocol

CHUNK = 1 << 20


class Store(Protocol):
    """A place that keeps images' data.

    Data in a store is found again by its locator, a text that only the store understands. Data appears whole or not at
    all. Where a store cannot be reached, its methods raise `kernel.errors.Unavailable`.
    """

    @property
    def name(self) -> str:
        """The operator's name for the store."""
        ...

    @property
    def kind(self) -> str:
        """file, http, ..."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether the store keeps nothing itself, but only reads what is elsewhere."""
        ...

    def write(self, image_id: str, chunks: Iterator[bytes]) -> str:
        """Keep the bytes durably and answer their locator.

        If `chunks` raises, or anything else fails, nothing of them remains. Written again, the new data replaces
        the old. OSError (ENOSPC, EDQUOT) if the store is full.
        """
        ...

    def read(self, locator: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` on, `length` of them. NotFound, at once, if the data is gone."""
        ...

    def size(self, locator: str) -> int:
        """How many bytes there are. NotFound."""
        ...

    def remove(self, locator: str) -> None:
        """Remove the data; it need not be there. Conflict while it is in use."""
        ...

    def in_use(self, locator: str) -> bool:
        """Whether something outside the image service needs the data, so that it cannot be removed."""
        ...

    def discard(self, image_id: str) -> None:
        """Remove whatever there is of an image, whole or partial, found without a locator."""
        ...

    def images(self) -> tuple[str, ...]:
        """The ids of all images of which the store holds something, whole or partial."""
        ...

    def url(self, locator: str) -> str:
        """The data's address as administrators see it."""
        ...

    def locator_of(self, url: str) -> str | None:
        """The locator of data at an address that somebody gives; None if that is no address of this store.

        BadRequest if it is one, and may not be used. That something is there is not checked.
        """
        ...
