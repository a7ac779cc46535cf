"""JSON patches of an image's locations, applied to what is there: pure."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pileus.image.data.service import HASH_ALGO
from pileus.image.domain import Image, Location, Status
from pileus.image.locations import schemas
from pileus.image.locations.domain import Found, Given, Validation
from pileus.image.patch import Operation
from pileus.kernel.errors import BadRequest, Conflict, Forbidden

_MD5_BYTES = 16


class Patching:
    """One patch at work on one image. Afterwards: `locations`, `removed`, and `values` of the image's other fields."""

    def __init__(self, image: Image, visible: Sequence[Location], found: Mapping[str, Found]) -> None:
        """`visible`: the image's locations in the order in which they are shown. `found`: what is at new URLs."""
        self.locations = list(visible)
        self.removed: list[Location] = []
        self.values: dict[str, Any] = {}
        self._image = image
        self._found = found

    def apply(self, operation: Operation) -> None:
        """BadRequest, Conflict, Forbidden: as Glance answers."""
        if self._image.status not in (Status.QUEUED, Status.ACTIVE) or self._image.import_task is not None:
            raise Conflict(f"The locations of an image with status {self._image.status} cannot be changed.")
        match operation.kind:
            case "add":
                if operation.position is None:
                    raise BadRequest("A location is added at /locations/- or at a position.")
                (given,) = schemas.given_by(operation)
                self._add(given, self._position(operation.position, len(self.locations) + 1))
            case "remove":
                if operation.position is None:
                    raise BadRequest("A location is removed by its position.")
                self._remove(operation.position)
            case _:
                if operation.position is not None:
                    raise BadRequest("Locations are replaced together.")
                self._replace(schemas.given_by(operation))

    def _add(self, given: Given, position: int) -> None:
        found = self._found[given.url]
        if self._same(found.location):
            raise BadRequest(f"The location {given.url} is there already.")
        if self._status == Status.QUEUED and None in (self._image.disk_format, self._image.container_format):
            raise BadRequest("disk_format and container_format must be set before a location is.")
        if self._value("size") not in (None, found.size):
            raise BadRequest(f"What is at {given.url} is not as large as the image.")
        self._validate(given.validation)
        self.locations.insert(position, self._with(found.location, given))
        self.values |= {"size": found.size, "status": Status.ACTIVE}

    def _replace(self, given: list[Given]) -> None:
        """Metadata and order may change; another place is not the same image any more."""
        if not self.locations:
            for number, each in enumerate(given):
                self._add(each, number)
            return
        places = [self._found[each.url].location for each in given if each.url in self._found]
        keys = {(place.store, place.locator) for place in places}
        if not len(keys) == len(places) == len(given) or keys != {
            (place.store, place.locator) for place in self.locations
        }:
            raise BadRequest("Of locations that are there, only metadata and order can be replaced.")
        for each in given:
            self._validate(each.validation)
        self.locations = [self._with(place, each) for place, each in zip(places, given, strict=True)]

    def _remove(self, position: str) -> None:
        if self._status != Status.ACTIVE:
            raise Conflict(f"A location of an image with status {self._status} cannot be removed.")
        at = self._position(position, len(self.locations))
        if len(self.locations) == 1:
            raise Forbidden("The last location of an image cannot be removed.")
        self.removed.append(self.locations.pop(at))

    def _position(self, text: str, count: int) -> int:
        at = count - 1 if text == "-" else int(text)
        if not 0 <= at < count:
            raise BadRequest(f"There is no position {text} among the image's locations.")
        return at

    def _same(self, place: Location) -> bool:
        return any((place.store, place.locator) == (other.store, other.locator) for other in self.locations)

    def _with(self, place: Location, given: Given) -> Location:
        return Location(place.store, place.locator, given.metadata)

    @property
    def _status(self) -> str:
        return str(self._value("status"))

    def _value(self, name: str) -> Any:
        return self.values.get(name, getattr(self._image, name))

    def _validate(self, validation: Validation | None) -> None:
        """What is known of the data already must be what the caller says; what is new is believed while the image
        has no data. Conflict."""
        if validation is None:
            return
        said = {
            "checksum": validation.checksum,
            "os_hash_algo": validation.os_hash_algo,
            "os_hash_value": validation.os_hash_value,
        }
        new = {name: value for name, value in said.items() if value is not None and value != self._value(name)}
        for name in new:
            if self._value(name) is not None:
                raise Conflict(f"{name} is already set with a different value.")
        if not new:
            return
        if self._status != Status.QUEUED:
            raise Conflict(f"{', '.join(sorted(new))} may only be given while the image is queued.")
        if validation.os_hash_algo != HASH_ALGO:
            raise Conflict(f"os_hash_algo must be {HASH_ALGO}, not {validation.os_hash_algo}.")
        if not schemas.is_hex(validation.os_hash_value, hashlib.new(HASH_ALGO).digest_size):
            raise Conflict(f"os_hash_value is not one of {HASH_ALGO}.")
        if validation.checksum is not None and not schemas.is_hex(validation.checksum, _MD5_BYTES):
            raise Conflict("checksum is not one of MD5.")
        self.values |= new
