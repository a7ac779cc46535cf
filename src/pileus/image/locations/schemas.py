"""Locations in requests and responses."""

import hashlib
from typing import Any

import msgspec

from pileus.image.domain import Location
from pileus.image.locations.domain import Given, Validation
from pileus.image.patch import Operation
from pileus.image.stores.base import Store
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import Body, Param

ADD = Body(
    None,
    Param("url", str, required=True),
    Param("validation_data", dict[str, Any], nullable=True),
    strict=True,
)
_MAX_METADATA = 1 << 16
_ALGORITHMS = frozenset(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake_"))
_STORE = "store"  # the one key of metadata that is ours


def render(location: Location, store: Store) -> dict[str, Any]:
    """A location as the API shows it."""
    return {"url": store.url(location.locator), "metadata": {**location.metadata, _STORE: location.store}}


def given_by(operation: Operation) -> list[Given]:
    """The locations that a patch operation gives. BadRequest."""
    if operation.kind == "remove":
        return []
    if operation.kind == "add":
        return [_given(operation.value)]
    if not isinstance(operation.value, list):
        raise BadRequest("Locations must be a list.")
    return [_given(item) for item in operation.value]


def _given(value: object) -> Given:
    if not isinstance(value, dict) or not isinstance(value.get("url"), str):
        raise BadRequest("A location must be an object with a url and metadata.")
    if unknown := value.keys() - {"url", "metadata", "validation_data"}:
        raise BadRequest(f"A location has no '{min(unknown)}'.")
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or len(msgspec.json.encode(metadata)) > _MAX_METADATA:
        raise BadRequest(f"The metadata of a location must be an object of at most {_MAX_METADATA} bytes.")
    validation = None
    if "validation_data" in value:
        try:
            validation = msgspec.convert(value["validation_data"], Validation)
        except msgspec.ValidationError as err:
            raise BadRequest(f"Invalid validation_data: {err}.") from err
    return Given(value["url"], {key: item for key, item in metadata.items() if key != _STORE}, validation)


def check_validation(values: object) -> Validation | None:
    """The hash that a caller gives with a new location; None without any. BadRequest says what is wrong with it."""
    if not values:
        return None
    try:
        validation = msgspec.convert(values, Validation)
    except msgspec.ValidationError as err:
        raise BadRequest(f"Invalid validation_data: {err}.") from err
    if validation.checksum is not None:
        raise BadRequest("validation_data must hold os_hash_algo and os_hash_value, and nothing else.")
    if validation.os_hash_algo not in _ALGORITHMS:
        raise BadRequest(f"Invalid os_hash_algo '{validation.os_hash_algo}'.")
    if not is_hex(validation.os_hash_value, hashlib.new(validation.os_hash_algo).digest_size):
        raise BadRequest(f"os_hash_value is not one of {validation.os_hash_algo}.")
    return validation


def is_hex(text: str, size: int) -> bool:
    """Whether the text is that many bytes in lower-case hexadecimal digits."""
    return len(text) == 2 * size and set(text) <= set("0123456789abcdef")
